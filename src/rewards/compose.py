"""From a finished trajectory's outcome to its reward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from src.config import RewardConfig
from src.rewards.terms import OPTIONAL, TERMS, Outcome


@dataclass(frozen=True)
class Reward:
    """A trajectory's reward.

    ``correct`` is what grading said, never inferred from the reward (docs/design.md, invariant Correctness).

    Attributes:
        correct: the answer is right.
        terms: each reward term's value, weight included, by name.
        total: their sum, which the trainer optimises.
    """

    correct: bool
    terms: Mapping[str, float]
    total: float


def compose(outcome: Outcome, cfg: RewardConfig) -> Reward:
    """Return the reward of ``outcome``: the terms that have a weight (src/rewards/terms.py) and their sum."""
    weightless = {name for name in OPTIONAL if getattr(cfg, name) == 0}
    terms = {name: term(outcome, cfg) for name, term in TERMS.items() if name not in weightless}
    return Reward(correct=outcome.correct, terms=terms, total=sum(terms.values()))
