"""Measures: one number of a training curve, METRIC:HOW, such as ``reward:drop``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.data import AnalysisError
from analysis.stats import Floats
from analysis.trends import level_change, spans
from src.run import renamed
from src.run.intervals import DIFFERENCE, SHARE

# HOW -> description, with window lengths in steps
HOWS = {
    "last": "mean of the last {last} steps",
    "first": "mean of the first {last} steps",
    "all": "mean of all steps",
    "max": "largest value of a step",
    "best": "largest running mean over {window} steps",
    "drop": "largest decrease from one step to the next",
    "gain": "last {last} steps minus first {last} steps",
    "rise": "jump at rises of the budget, relative to linear trends over {around} steps",
}
CHANGES = ("gain", "rise")  # reported for a single arm, too
SHARES = (
    *("accuracy", "held-out accuracy", "accuracy_after_failure", "tool_use_rate", "execution_failure_rate"),
    *("budget_exhausted_rate", "fabricated_output_rate", "stop/answered", "tokens/dropped_ratio"),
    "clip_ratio/high_mean",
)
NEVER_NEGATIVE = ("entropy", "grad_norm", "executions_per_trajectory", "seconds/step", "tokens/policy")


@dataclass(frozen=True)
class Windows:
    """Window lengths in rollout steps."""

    last: int
    around: int
    window: int


@dataclass(frozen=True)
class Measure:
    """A metric, and how its curve is summarised."""

    metric: str
    how: str

    @classmethod
    def parse(cls, text: str, place: str) -> Measure:
        """Read ``METRIC:HOW``. Raises AnalysisError, which begins with ``place``."""
        metric, _, how = text.rpartition(":")
        if not metric or how not in HOWS:
            raise AnalysisError(f"{place}={text}: give METRIC:HOW, where HOW is one of {', '.join(HOWS)}")
        return cls(renamed.metric(metric), how)

    def __str__(self) -> str:
        return f"{self.metric}:{self.how}"

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Range of the number; None: unbounded."""
        if self.metric in SHARES:
            return DIFFERENCE if self.how in CHANGES else SHARE
        if self.how == "drop" or (self.metric in NEVER_NEGATIVE and self.how not in CHANGES):
            return 0.0, np.inf
        return None

    @property
    def gap_bounds(self) -> tuple[float, float] | None:
        """Range of the difference of two such numbers; None: unbounded."""
        if self.bounds is None:
            return None
        low, high = self.bounds
        return low - high, high - low

    def of(self, curve: Floats, windows: Windows, rises: Sequence[int]) -> float:
        """Return the number; nan if the curve has no values for it.

        Args:
            curve: a value per step; nan: no value, ignored in means.
            windows: see :data:`HOWS`.
            rises: indices of the steps at which the budget rises.
        """
        if self.how == "first":
            return _mean(curve[: windows.last])
        if self.how == "last":
            return _mean(curve[-windows.last :])
        if self.how == "gain":
            return _mean(curve[-windows.last :]) - _mean(curve[: windows.last])
        if self.how == "rise":
            steps = np.arange(curve.size)
            found = [
                level_change(steps[first:end], curve[first:end], at, 0.95).value
                for first, at, end in spans(rises, windows.around, curve.size)
            ]
            return _mean(np.array(found))
        if self.how == "drop":
            falls = curve[:-1] - curve[1:]
            falls = falls[np.isfinite(falls)]
            return float(max(falls.max(), 0.0)) if falls.size else float("nan")
        known = curve[np.isfinite(curve)]
        if not known.size:
            return float("nan")
        if self.how == "max":
            return float(known.max())
        if self.how == "best":
            width = min(windows.window, known.size)
            return float(np.convolve(known, np.full(width, 1 / width), "valid").max())
        return _mean(known)


def _mean(values: Floats) -> float:
    """Return the mean of the finite values; nan if there are none."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")
