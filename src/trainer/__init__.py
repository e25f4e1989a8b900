"""The RL training step: step.py defines its order, each other file one part of it; the loss is TRL's."""

from src.sandbox import InfrastructureError
from src.trainer.cir_trainer import CIRTrainer
from src.trainer.step import TrainingStep

__all__ = ["CIRTrainer", "InfrastructureError", "TrainingStep"]
