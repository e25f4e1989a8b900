"""The reinforcement learning step: step.py is its order, the other files one idea each; the loss is TRL's."""

from src.trainer.cir_trainer import CIRTrainer
from src.trainer.step import InfrastructureError, TrainingStep

__all__ = ["CIRTrainer", "InfrastructureError", "TrainingStep"]
