"""Estimators and their intervals. Problems are what is drawn from a population, not trajectories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def pass_at_k(n: Integers, c: Integers, k_max: int) -> Floats:
    r"""Return the unbiased estimate of pass@k of every problem for k = 1, ..., ``k_max``; (P, k_max).

    The chance that ``k`` of ``n`` trajectories, drawn without putting back, hold a correct one:
    :math:`1 - \binom{n-c}{k} / \binom{n}{k}` (Chen et al. 2021, arXiv 2107.03374, equation 1), as a running
    product, which neither overflows nor cancels.

    Args:
        n: trajectories of each problem, (P,).
        c: correct ones among them, (P,).
        k_max: at most the smallest ``n``.

    Raises:
        ValueError: ``k_max`` is larger than that, or some ``c`` is not between 0 and ``n``.
    """
    n, c = np.asarray(n, dtype=np.int64), np.asarray(c, dtype=np.int64)
    if ((c < 0) | (c > n)).any():
        raise ValueError("c: more correct trajectories than trajectories, or fewer than none")
    if not 1 <= k_max <= n.min():
        raise ValueError(
            f"k_max={k_max}: there are problems with {n.min()} trajectories; take 1 to {n.min()}"
        )
    drawn = np.arange(k_max)
    wrong = np.maximum((n - c)[:, None] - drawn, 0) / (n[:, None] - drawn)
    return 1.0 - np.cumprod(wrong, axis=1)


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


@dataclass(frozen=True)
class Estimate:
    """A mean over problems with its interval."""

    value: float
    low: float
    high: float
    n: int  # problems

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def mean_interval(values: Sequence[float] | Floats, resamples: int, confidence: float, seed: int) -> Estimate:
    """Return the mean of one value per problem with its percentile bootstrap interval over problems."""
    array = np.asarray(values, dtype=np.float64)
    if not array.size:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    low, high = percentiles(resampled(array.size, resamples, seed) @ array, confidence)
    return Estimate(float(array.mean()), float(low), float(high), array.size)


def ratio_interval(
    above: Sequence[float] | Floats,
    below: Sequence[float] | Floats,
    resamples: int,
    confidence: float,
    seed: int,
) -> Estimate:
    """Return the sum of ``above`` over that of ``below`` (one value per problem) with its interval."""
    top, bottom = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    if not bottom.sum():
        return Estimate(float("nan"), float("nan"), float("nan"), top.size)
    weights = resampled(top.size, resamples, seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = (weights @ top) / (weights @ bottom)
    low, high = percentiles(ratios[np.isfinite(ratios)], confidence)
    return Estimate(float(top.sum() / bottom.sum()), float(low), float(high), top.size)


def share_interval(right: int, n: int, confidence: float) -> Estimate:
    """Return a share of independent trials with Wilson's (1927) interval."""
    if not n:
        return Estimate(float("nan"), 0.0, 1.0, 0)
    found = binomtest(right, n).proportion_ci(confidence, method="wilson")
    return Estimate(right / n, float(found.low), float(found.high), n)
