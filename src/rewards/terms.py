"""Reward terms: one function each, from what is known of a trajectory to a number.

A new term is a function here, its line in :data:`TERMS`, and its weight in ``RewardConfig``. The name of a
term is what records and logs call it, so it does not change. A term whose weight is 0 is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from src.config import RewardConfig
from src.problems import Problem


@dataclass(frozen=True)
class Outcome:
    """What reward terms see of a finished trajectory.

    Attributes:
        correct: the answer is equivalent to the gold answer.
        answer: what the policy boxed, or None.
        problem: its text, gold answer, subject, level.
        programs: what was called, in order: programs, or the arguments of other tools.
        outputs: what each of them said, in order.
        policy_texts: texts of the policy's segments, in order.
        statuses: execution statuses, in order.
        stop_reason: why the trajectory ended.
        tokens: of the completion, feedback included.
        max_tokens: that it could have had.
    """

    correct: bool
    answer: str | None
    policy_texts: tuple[str, ...]
    statuses: tuple[str, ...]
    stop_reason: str
    tokens: int = 0
    max_tokens: int = 0
    problem: Problem | None = None
    programs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


def correctness(outcome: Outcome, cfg: RewardConfig) -> float:
    """``cfg.correct`` for an answer that is right, otherwise ``cfg.wrong``."""
    return cfg.correct if outcome.correct else cfg.wrong


def executability(outcome: Outcome, cfg: RewardConfig) -> float:
    """Minus ``cfg.executability`` if any execution failed (ToRL, arXiv 2503.23383, with 0.5)."""
    return -cfg.executability * any(status != "ok" for status in outcome.statuses)


def answered(outcome: Outcome, cfg: RewardConfig) -> float:
    """``cfg.answered`` for an answer in a box, right or wrong."""
    return cfg.answered * (outcome.answer is not None)


def tool_cost(outcome: Outcome, cfg: RewardConfig) -> float:
    """Minus ``cfg.tool_cost`` for each execution of a trajectory that is right: fewer are as good."""
    return -cfg.tool_cost * len(outcome.statuses) * outcome.correct


def overlong(outcome: Outcome, cfg: RewardConfig) -> float:
    """From 0 to minus ``cfg.overlong`` over the last ``cfg.overlong_tokens`` (DAPO, arXiv 2503.14476).

    Without a number of tokens it is DAPO's share: 4,096 of the 20,480 that a trajectory may have.
    """
    tokens = cfg.overlong_tokens or max(1, outcome.max_tokens // 5)
    beyond = outcome.tokens - (outcome.max_tokens - tokens)
    return -cfg.overlong * min(1.0, max(0.0, beyond / tokens))


Term = Callable[[Outcome, RewardConfig], float]
TERMS: Mapping[str, Term] = MappingProxyType(
    {
        "correctness": correctness,
        "executability": executability,
        "answered": answered,
        "tool_cost": tool_cost,
        "overlong": overlong,
    }
)
OPTIONAL = ("executability", "answered", "tool_cost", "overlong")  # each has a weight of its name
