"""By how much a curve changes at a step, beyond what it was doing anyway."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit
from scipy.stats import linregress

from analysis.stats import Floats, Mean, symmetric


def spans(rises: Sequence[int], around: int, end: int) -> list[tuple[int, int, int]]:
    """Return the first step, the rise, and the step after the last of what is compared at each rise.

    ``around`` steps on either side, fewer where another rise, the beginning or the ``end`` comes before.
    """
    edges = [0, *rises, end]
    return [
        (max(before, at - around), at, min(after, at + around))
        for before, at, after in zip(edges, rises, edges[2:], strict=False)
    ]


def level_change(steps: Floats, values: Floats, at: float, confidence: float) -> Mean:
    """Return by how much a curve jumps at ``at``, a linear trend on either side left aside.

    Segmented regression (Wagner et al. 2002): a line is fitted to the steps before ``at`` and another from it
    on; the change is the difference of their values there. What the curve was doing anyway is no change. The
    interval is Welch's (1947), of the two lines' standard errors; it takes steps for independent, which
    neighbours are not quite, so that it is rather too narrow.

    Args:
        steps: (N,).
        values: (N,); nan: the step has none.
        at: the first step after the change.
        confidence: of the interval.

    Returns:
        the change, nan unless both sides have two steps, and its interval, nan unless both have three; ``n``
        is their number.
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
    total = total if total > 1e-24 * (1 + value**2) else 0.0  # two perfect lines, but for rounding
    freedom = total**2 / (squares**2 / (sizes - 2)).sum() if total else 1.0
    return symmetric(
        value, lambda sure: float(stdtrit(freedom, (1 + sure) / 2) * np.sqrt(total)), int(sizes.sum()),
        confidence, None,
    )  # fmt: skip
