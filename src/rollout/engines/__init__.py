"""What samples tokens: one interface, one file per engine."""

from src.rollout.engines.base import Engine, Finish, Generation, Request

__all__ = ["Engine", "Finish", "Generation", "Request"]
