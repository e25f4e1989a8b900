"""One number of a whole training run: METRIC:HOW, such as ``reward:drop``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.data import AnalysisError
from analysis.stats import Floats

# HOW -> what it is, with the windows' lengths in steps
HOWS = {
    "last": "mean of the last {last} steps",
    "first": "mean of the first {last} steps",
    "all": "mean of all steps",
    "max": "largest value of a step",
    "best": "largest running mean of {window} steps",
    "drop": "largest fall from one step to the next",
    "gain": "last {last} steps minus first {last}",
    "rise": "{around} steps after minus {around} before rises of the budget",
}
CHANGES = ("gain", "rise")  # which an arm by itself may or may not have


@dataclass(frozen=True)
class Windows:
    """Lengths in rollout steps."""

    last: int
    around: int
    window: int


@dataclass(frozen=True)
class Measure:
    """A metric, and what is taken of its curve."""

    metric: str
    how: str

    @classmethod
    def parse(cls, text: str, place: str) -> Measure:
        """Read ``METRIC:HOW``. Raises AnalysisError, which begins with ``place``."""
        metric, _, how = text.rpartition(":")
        if not metric or how not in HOWS:
            raise AnalysisError(f"{place}={text}: give METRIC:HOW, HOW being one of {', '.join(HOWS)}")
        return cls(metric, how)

    def __str__(self) -> str:
        return f"{self.metric}:{self.how}"

    def of(self, curve: Floats, windows: Windows, rises: Sequence[int]) -> float:
        """Return the number; nan where the curve has nothing to take it of.

        Args:
            curve: a value per step; nan: the step has none, and is left out of means.
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
            return _mean(np.array([_around(curve, one, windows.around) for one in rises]))
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


def _around(curve: Floats, at: int, steps: int) -> float:
    return _mean(curve[at : at + steps]) - _mean(curve[max(0, at - steps) : at])


def _mean(values: Floats) -> float:
    """Return the mean of what is known; nan if nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")
