"""Settings of ``python -m src.replay``."""

from __future__ import annotations

from dataclasses import dataclass, field

from src.config.schema import option
from src.config.training import TrainerConfig

# Settings of the trainer that another objective may have: of the loss, then of the optimizer step.
OF_THE_LOSS = (
    *("advantage", "whiten_over", "loss_type", "clip_low", "clip_high", "dual_clip", "kl_coef"),
    *("entropy_coef", "exclude", "importance_sampling", "importance_sampling_max"),
)
OF_THE_OPTIMIZER = ("learning_rate", "weight_decay", "adam_beta2", "max_grad_norm")


@dataclass
class ReplayConfig:
    """``python -m src.replay``; values of ``trainer`` that are given are those of another objective."""

    run: str = option("???", "folder of a training run with token columns (records.tokens=true)")
    step: int = option("???", "rollout step, from 0, as in metrics.jsonl", at_least=0)
    verify: bool = option(
        False, "go on to the next checkpoint after the step, and compare the weights with those in it"
    )
    tolerance: float = option(
        0.0,
        "largest deviation of the loss from the run's, and relative deviation of the gradient norm; 0: equal "
        "to the last bit, as on the same machine in float32",
        at_least=0,
    )
    rewards: str | None = option(
        None,
        "folder of src.regrade: the other objective has its rewards; null: the run's (reward settings can be "
        "changed only there)",
    )
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
