"""Confidence intervals over problems, shared by evaluations and analyses.

Problems are a sample of a population; the trajectories of one problem are not independent. Therefore all
functions take one value per problem.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

Floats = NDArray[np.float64]
SHARE, DIFFERENCE = (0.0, 1.0), (-1.0, 1.0)  # ranges of a fraction, and of a difference of two fractions


@lru_cache(maxsize=8)  # reused for every arm and measure
def resampled(problems: int, resamples: int, seed: int) -> Floats:
    """Return the weight of each problem in bootstrap resamples of the problems, (resamples, problems).

    Each row sums to 1, so that the product of a row with values of the problems is their mean in a resample.
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
    """Return Wilson's (1927) interval of a proportion of ``n`` independent trials."""
    found = binomtest(right, n).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)


def unseen(problems: int, confidence: float) -> float:
    """Return the largest fraction of the population that a sample of ``problems`` may have missed entirely.

    The sample misses a fraction ``q`` with probability ``(1 - q) ** problems``; the result is the ``q`` at
    which this is half of ``1 - confidence``. For binary outcomes of which none is correct, it is the upper
    limit of Clopper and Pearson (1934).
    """
    return float(1 - ((1 - confidence) / 2) ** (1 / problems))


def mean_limits(
    values: ArrayLike, bounds: tuple[float, float], resamples: int, confidence: float, seed: int
) -> tuple[Floats, Floats]:
    """Return the interval of the mean of one bounded value per problem.

    The percentile bootstrap over problems, which has zero width if all problems have the same value;
    :func:`widened` corrects this.

    Args:
        values: (P,) or (P, K), for K means at once.
        bounds: range of a value.
        resamples: number of bootstrap resamples.
        confidence: level of the interval.
        seed: seed of the bootstrap.

    Returns:
        low and high, () or (K,).
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
    """Return bootstrap limits, widened to allow for kinds of problems that are not in the sample.

    If all problems have the same value, the limits are what the mean would be if the fraction :func:`unseen`
    of the population were at a bound: 0 to 0.036 for 0 of 100 problems correct, however many trajectories
    each has. The interval of a fraction is never narrower than this, so that it does not shrink as soon as
    one problem differs. The interval of a difference is widened only if it has zero width.
    """
    mean, low, high = (np.asarray(limit, dtype=np.float64) for limit in (mean, low, high))
    share = unseen(problems, confidence)
    least, most = mean - share * (mean - bounds[0]), mean + share * (bounds[1] - mean)
    narrow = (bounds == SHARE) | (high - low < 1e-12)
    return np.where(narrow, np.minimum(low, least), low), np.where(narrow, np.maximum(high, most), high)
