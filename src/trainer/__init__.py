"""The RL training step: step.py defines its order, each other file one part of it; the loss is TRL's."""

from src.trainer.cir_trainer import CIRTrainer
from src.trainer.step import InfrastructureError, TrainingStep

__all__ = ["CIRTrainer", "InfrastructureError", "TrainingStep"]
