"""Settings of ``python -m src.regrade``."""

from __future__ import annotations

from dataclasses import dataclass, field

from src.config.schema import option
from src.config.training import RewardConfig


@dataclass
class RegradeConfig:
    """``python -m src.regrade``; values of ``reward`` that are not given are the run's."""

    run: str = option("???", "folder of a training run or of an evaluation")
    shown: int = option(20, "most flips that are printed; all are in flips.jsonl", at_least=0)
    reward: RewardConfig = field(default_factory=RewardConfig)
