"""Level changes of a curve at a step, beyond its trend."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit
from scipy.stats import linregress

from analysis.stats import Floats, Mean, symmetric


def spans(rises: Sequence[int], around: int, end: int) -> list[tuple[int, int, int]]:
    """Return the window around each rise: its first step, the rise, and the step after its last.

    ``around`` steps on either side, fewer near another rise, the beginning or the ``end``.
    """
    edges = [0, *rises, end]
    return [
        (max(before, at - around), at, min(after, at + around))
        for before, at, after in zip(edges, rises, edges[2:], strict=False)
    ]


def level_change(steps: Floats, values: Floats, at: float, confidence: float) -> Mean:
    """Return the level change of a curve at ``at``, after removing a linear trend on either side.

    Segmented regression (Wagner et al. 2002): one line is fitted to the steps before ``at``, another to those
    from ``at`` on; the change is the difference of their values at ``at``. The interval is Welch's
    (1947), from the standard errors of the two lines. It assumes independent steps; since neighbouring steps
    are correlated, it is slightly too narrow.

    Args:
        steps: (N,).
        values: (N,); nan: no value at that step.
        at: the first step after the change.
        confidence: level of the interval.

    Returns:
        The change, nan unless both sides have two steps, and its interval, nan unless both have three; ``n``
        is the number of steps.
    """
    known = np.isfinite(values)
    sides = [known & (steps < at), known & (steps >= at)]
    sizes = np.array([int(side.sum()) for side in sides])
    nothing = float("nan")
    if sizes.min() < 2:
        return Mean(nothing, nothing, nothing, int(sizes.sum()), nothing)
    before, after = (linregress(steps[side] - at, values[side]) for side in sides)
    value = float(after.intercept - before.intercept)
    if sizes.min() < 3:
        return Mean(value, nothing, nothing, int(sizes.sum()), nothing)
    squares = np.array([before.intercept_stderr, after.intercept_stderr]) ** 2
    total = float(squares.sum())
    total = total if total > 1e-24 * (1 + value**2) else 0.0  # two perfect lines, up to rounding
    freedom = total**2 / (squares**2 / (sizes - 2)).sum() if total else 1.0
    return symmetric(
        value, lambda level: float(stdtrit(freedom, (1 + level) / 2) * np.sqrt(total)), int(sizes.sum()),
        confidence, None,
    )  # fmt: skip
