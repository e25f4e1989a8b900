"""Reward terms: functions from the outcome of a trajectory to a number.

A new term is a function here, a line in :data:`TERMS`, and a weight in ``RewardConfig``. Records and logs use
the name of a term, so it must not change. A term with a weight of 0 is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from src.config import RewardConfig
from src.problems import Problem


@dataclass(frozen=True)
class Outcome:
    """The outcome of a finished trajectory, as reward terms see it.

    Attributes:
        correct: the answer is equivalent to the gold answer.
        answer: the policy's boxed answer, or None.
        problem: its text, gold answer, subject, level.
        programs: the executed programs, or the arguments of other tools, in order.
        outputs: the output of each of them.
        policy_texts: texts of the policy's segments, in order.
        statuses: execution statuses, in order.
        stop_reason: why the trajectory ended.
        tokens: number of tokens of the completion, feedback included.
        max_tokens: limit of that number.
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
    """``cfg.correct`` for a correct answer, otherwise ``cfg.wrong``."""
    return cfg.correct if outcome.correct else cfg.wrong


def executability(outcome: Outcome, cfg: RewardConfig) -> float:
    """Minus ``cfg.executability`` if any execution failed (ToRL, arXiv 2503.23383, with 0.5)."""
    return -cfg.executability * any(status != "ok" for status in outcome.statuses)


def answered(outcome: Outcome, cfg: RewardConfig) -> float:
    """``cfg.answered`` for a boxed answer, correct or not."""
    return cfg.answered * (outcome.answer is not None)


def tool_cost(outcome: Outcome, cfg: RewardConfig) -> float:
    """Minus ``cfg.tool_cost`` for each execution of a correct trajectory."""
    return -cfg.tool_cost * len(outcome.statuses) * outcome.correct


def overlong(outcome: Outcome, cfg: RewardConfig) -> float:
    """From 0 to minus ``cfg.overlong`` over the last ``cfg.overlong_tokens`` (DAPO, arXiv 2503.14476).

    By default over a fifth of the maximum length, as in DAPO (4,096 of 20,480 tokens).
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
OPTIONAL = ("executability", "answered", "tool_cost", "overlong")  # the weight of each has its name
