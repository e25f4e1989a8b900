"""Interaction budget as a function of the rollout step (invariant 9).

The paper raises the budget during training: 2 executions, 3 from rollout step 100, 4 from 200.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

from src.config import CurriculumConfig

Curriculum = Callable[[int], int]  # rollout step, from 0 -> most executions per trajectory


def fixed(budget: int) -> Curriculum:
    """The same budget at every step."""
    return lambda step: budget


def staged(stages: list[tuple[int, int]]) -> Curriculum:
    """``(step, budget)`` pairs in ascending order of step, the first at step 0."""
    starts = [step for step, _ in stages]
    return lambda step: stages[bisect_right(starts, step) - 1][1]


def build_curriculum(cfg: CurriculumConfig) -> Curriculum:
    """Return the curriculum that ``cfg.kind`` names."""
    if cfg.kind == "fixed":
        return fixed(cfg.budget)
    return staged([(stage.step, stage.budget) for stage in cfg.stages])
