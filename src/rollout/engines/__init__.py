"""Engines that sample tokens: one interface, one file per engine."""

from src.rollout.engines.base import Engine, EngineError, Finish, Generation, Request, StopCondition

__all__ = ["Engine", "EngineError", "Finish", "Generation", "Request", "StopCondition"]
