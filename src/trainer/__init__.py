"""The reinforcement learning step: small hooks on TRL's GRPOTrainer, one idea a file."""

from src.trainer.cir_trainer import CIRTrainer, InfrastructureError

__all__ = ["CIRTrainer", "InfrastructureError"]
