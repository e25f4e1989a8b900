"""Interaction budget as a function of the rollout step (docs/design.md, invariant Curriculum).

The paper raises the budget during training: 2 executions, 3 from rollout step 100, 4 from 200. An adaptive
curriculum depends on the metrics; its state is saved in checkpoints, so that a resumed run continues from it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from src.config import CurriculumConfig
from src.config.dotted import is_dotted, load


class Curriculum(Protocol):
    """The number of executions that a trajectory may use, by rollout step."""

    def __call__(self, step: int) -> int:
        """Return the budget at a rollout step, counted from 0."""

    def observe(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record the metrics of a finished rollout step; called once per step, in order."""

    def state(self) -> dict[str, Any]:
        """Return the state for :meth:`load`, as JSON; empty if the budget depends only on the step."""

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore a state."""


class _Stateless:
    """A budget that depends only on the step."""

    def observe(self, step: int, metrics: Mapping[str, float]) -> None:
        """See Curriculum."""

    def state(self) -> dict[str, Any]:
        """See Curriculum."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """See Curriculum."""


class Fixed(_Stateless):
    """The same budget at every step."""

    def __init__(self, budget: int) -> None:
        self._budget = budget

    def __call__(self, step: int) -> int:
        """See Curriculum."""
        return self._budget


class Staged(_Stateless):
    """``(step, budget)`` pairs in ascending order of step, the first at step 0."""

    def __init__(self, stages: list[tuple[int, int]]) -> None:
        self._starts = [step for step, _ in stages]
        self._budgets = [budget for _, budget in stages]

    def __call__(self, step: int) -> int:
        """See Curriculum."""
        return self._budgets[bisect_right(self._starts, step) - 1]


class Linear(_Stateless):
    """Rises linearly from ``start`` to ``budget``, which is reached at step ``until``."""

    def __init__(self, start: int, budget: int, until: int) -> None:
        self._start, self._budget, self._until = start, budget, until

    def __call__(self, step: int) -> int:
        """See Curriculum."""
        if step >= self._until:
            return self._budget
        return self._start + (self._budget - self._start) * step // self._until


class Adaptive:
    """Raises the budget by one when trajectories exhaust it and the reward has plateaued.

    The condition, over the last ``window`` steps since the last increase: the mean ``budget_exhausted_rate``
    is at least ``min_exhausted_rate``, and the mean rewards of the two halves of the window differ by at most
    ``max_reward_drift``.

    Args:
        start: budget at step 0.
        budget: largest budget.
        window: number of steps.
        min_exhausted_rate: fraction of trajectories.
        max_reward_drift: absolute difference of mean rewards.
    """

    def __init__(
        self, start: int, budget: int, window: int, min_exhausted_rate: float, max_reward_drift: float
    ) -> None:
        self._now, self._most = start, budget
        self._window, self._min_exhausted_rate, self._max_reward_drift = (
            window,
            min_exhausted_rate,
            max_reward_drift,
        )
        self._seen: list[tuple[float, float]] = []  # exhausted rate and reward, since the last increase

    def __call__(self, step: int) -> int:
        """See Curriculum; valid for the next step only."""
        return self._now

    def observe(self, step: int, metrics: Mapping[str, float]) -> None:
        """See Curriculum."""
        self._seen = [*self._seen, (metrics["budget_exhausted_rate"], metrics["reward"])][-self._window :]
        if len(self._seen) < self._window or self._now >= self._most:
            return
        shares, rewards = np.array(self._seen).T
        half = self._window // 2
        drift = abs(rewards[half:].mean() - rewards[:half].mean())
        if shares.mean() >= self._min_exhausted_rate and drift <= self._max_reward_drift:
            self._now += 1
            self._seen = []

    def state(self) -> dict[str, Any]:
        """See Curriculum."""
        return {"budget": self._now, "seen": self._seen}

    def load(self, state: Mapping[str, Any]) -> None:
        """See Curriculum."""
        self._now = state["budget"]
        self._seen = [(share, reward) for share, reward in state["seen"]]


def build_curriculum(cfg: CurriculumConfig) -> Curriculum:
    """Return the curriculum that ``cfg.kind`` names; a custom class is called with ``cfg``.

    Raises:
        ConfigError: the class does not exist.
    """
    if is_dotted(cfg.kind):
        made: Curriculum = load("curriculum.kind", cfg.kind)(cfg)
        return made
    if cfg.kind == "fixed":
        return Fixed(cfg.budget)
    if cfg.kind == "linear":
        return Linear(cfg.start, cfg.budget, cfg.until)
    if cfg.kind == "adaptive":
        return Adaptive(cfg.start, cfg.budget, cfg.window, cfg.min_exhausted_rate, cfg.max_reward_drift)
    return Staged([(stage.step, stage.budget) for stage in cfg.stages])
