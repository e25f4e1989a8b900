"""Reward terms: one function each, from what is known of a trajectory to a number.

A new term is a function here, its line in :data:`TERMS`, and its weight in ``RewardConfig``. The name of a
term is what records and logs call it, so it does not change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from src.config import RewardConfig


@dataclass(frozen=True)
class Outcome:
    """What reward terms see of a finished trajectory.

    Attributes:
        correct: the answer is equivalent to the gold answer.
        answer: what the policy boxed, or None.
        policy_texts: texts of the policy's segments, in order.
        statuses: execution statuses, in order.
        stop_reason: why the trajectory ended.
    """

    correct: bool
    answer: str | None
    policy_texts: tuple[str, ...]
    statuses: tuple[str, ...]
    stop_reason: str


def correctness(outcome: Outcome, cfg: RewardConfig) -> float:
    """``cfg.correct`` for an answer that is right, otherwise ``cfg.wrong``."""
    return cfg.correct if outcome.correct else cfg.wrong


Term = Callable[[Outcome, RewardConfig], float]
TERMS: Mapping[str, Term] = MappingProxyType({"correctness": correctness})
