"""Intervals over problems: the arithmetic that evaluations and analyses share.

Problems are drawn from a population; the trajectories of one problem are not independent. So everything here
takes one value per problem.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

Floats = NDArray[np.float64]
SHARE, DIFFERENCE = (0.0, 1.0), (-1.0, 1.0)  # what a share, and a difference of two, can be


@lru_cache(maxsize=8)  # the same for every arm and measure
def resampled(problems: int, resamples: int, seed: int) -> Floats:
    """Return the weight of each problem in bootstrap resamples of the problems, (resamples, problems).

    Each row sums to 1, so that a row times values of the problems is their mean in a resample.
    """
    counts = np.random.default_rng(seed).multinomial(
        problems, np.full(problems, 1 / problems), size=resamples
    )
    weights = np.asarray(counts / problems, dtype=np.float64)
    weights.flags.writeable = False
    return weights


def percentiles(values: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Return the ends of the percentile interval over the first axis."""
    tail = 50 * (1 - confidence)
    low, high = np.percentile(values, [tail, 100 - tail], axis=0)
    return low, high


def wilson(right: int, n: int, confidence: float) -> tuple[float, float]:
    """Return Wilson's (1927) interval of a share of ``n`` independent trials."""
    found = binomtest(right, n).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)


def unseen(problems: int, confidence: float) -> float:
    """Return how large a share of the population could be unlike all ``problems`` that were drawn.

    All of them miss a share ``q`` with probability ``(1 - q) ** problems``; the result is the ``q`` at which
    this is half of ``1 - confidence``. Of problems that are right or wrong, none of them right, it is the
    upper limit of Clopper and Pearson (1934).
    """
    return float(1 - ((1 - confidence) / 2) ** (1 / problems))


def mean_limits(
    values: ArrayLike, bounds: tuple[float, float], resamples: int, confidence: float, seed: int
) -> tuple[Floats, Floats]:
    """Return the interval of the mean of one bounded value per problem.

    The percentile bootstrap over problems, which knows nothing of what was not drawn: where all problems have
    the same value it has no width. See :func:`widened` for what is done about it.

    Args:
        values: (P,) or (P, K), K means at once.
        bounds: the least and the largest value that a problem can have.
        resamples: number of them.
        confidence: of the interval.
        seed: of the resamples.

    Returns:
        low and high, (), or (K,).
    """
    array = np.asarray(values, dtype=np.float64)
    problems = len(array)
    low, high = percentiles(resampled(problems, resamples, seed) @ array, confidence)
    return widened(array.mean(axis=0), low, high, problems, bounds, confidence)


def widened(
    mean: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    problems: int,
    bounds: tuple[float, float],
    confidence: float,
) -> tuple[Floats, Floats]:
    """Return bootstrap limits that allow for problems unlike all that were drawn.

    Of problems that all have the same value the limits are what the mean would be if the share :func:`unseen`
    of the population lay at a bound: 0 to 0.036 for none right of 100 problems, however many trajectories
    each has. The interval of a share is never narrower than this one of equally many problems; so it
    does not shrink when a first problem differs. That of a difference is widened where it has no width.
    """
    mean, low, high = (np.asarray(one, dtype=np.float64) for one in (mean, low, high))
    share = unseen(problems, confidence)
    least, most = mean - share * (mean - bounds[0]), mean + share * (bounds[1] - mean)
    narrow = (bounds == SHARE) | (high - low < 1e-12)
    return np.where(narrow, np.minimum(low, least), low), np.where(narrow, np.maximum(high, most), high)
