"""Estimators and their confidence intervals; the sampling unit is the problem, not the trajectory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtrit

from src.run.intervals import DIFFERENCE, Floats, mean_limits, percentiles, resampled, widened
from src.run.pass_at_k import Integers as Integers
from src.run.pass_at_k import pass_at_k as pass_at_k

Bounds = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A mean over problems with its interval."""

    value: float
    low: float
    high: float
    n: int  # number of problems

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Estimate:
        """Return the estimate that a row of results holds, beside other things."""
        return Estimate(row["value"], row["low"], row["high"], row["n"])

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def mean_interval(
    values: Sequence[float] | Floats, bounds: Bounds, resamples: int, confidence: float, seed: int
) -> Estimate:
    """Return the mean of one value per problem with its interval over problems.

    See :func:`src.run.intervals.mean_limits`.

    Args:
        values: one per problem, (P,).
        bounds: range of a value: ``SHARE`` or ``DIFFERENCE``.
        resamples: number of bootstrap resamples.
        confidence: level of the interval.
        seed: seed of the bootstrap.
    """
    array = np.asarray(values, dtype=np.float64)
    if not array.size:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    low, high = mean_limits(array, bounds, resamples, confidence, seed)
    return Estimate(float(array.mean()), float(low), float(high), array.size)


def ratio_interval(
    above: Sequence[float] | Floats,
    below: Sequence[float] | Floats,
    resamples: int,
    confidence: float,
    seed: int,
    bounds: Bounds | None = None,
) -> Estimate:
    """Return the sum of ``above`` over that of ``below`` (one value per problem) with its interval.

    Args:
        above: numerators, (P,).
        below: denominators, (P,).
        resamples: number of bootstrap resamples.
        confidence: level of the interval.
        seed: seed of the bootstrap.
        bounds: range of the ratio, if it is a fraction; see :func:`src.run.intervals.widened`.
    """
    top, bottom = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    if not bottom.sum():
        return Estimate(float("nan"), float("nan"), float("nan"), top.size)
    weights = resampled(top.size, resamples, seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = (weights @ top) / (weights @ bottom)
    value = float(top.sum() / bottom.sum())
    low, high = _ratio_limits(ratios, value, int((bottom > 0).sum()), bounds, confidence)
    return Estimate(value, low, high, top.size)


def _ratio_limits(
    ratios: Floats, value: float, problems: int, bounds: Bounds | None, confidence: float
) -> tuple[float, float]:
    """Return the percentiles of resampled ratios, widened if the ratio is bounded."""
    low, high = percentiles(ratios[np.isfinite(ratios)], confidence)
    if bounds is not None:
        low, high = widened(value, low, high, problems, bounds, confidence)
    return float(low), float(high)


def ratio_gap_interval(
    above: Floats, below: Floats, resamples: int, confidence: float, seed: int
) -> Estimate:
    """Return the second rate minus the first, both over the same problems, with its interval.

    A rate is a sum over problems divided by another sum, such as repaired programs over failed ones.

    Args:
        above: numerators of one value per problem, (2, P).
        below: denominators, (2, P).
        resamples: number of bootstrap resamples.
        confidence: level of the interval.
        seed: seed of the bootstrap.
    """
    problems = above.shape[1]
    if not below.sum(axis=1).all():
        return Estimate(float("nan"), float("nan"), float("nan"), problems)
    weights = resampled(problems, resamples, seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        first, second = ((weights @ above[i]) / (weights @ below[i]) for i in (0, 1))
    first_rate, second_rate = above.sum(axis=1) / below.sum(axis=1)
    value, seen = float(second_rate - first_rate), int((below > 0).sum(axis=1).min())
    low, high = _ratio_limits(second - first, value, seen, DIFFERENCE, confidence)
    return Estimate(value, low, high, problems)


@dataclass(frozen=True)
class Mean(Estimate):
    """A mean with an interval and the two-sided p value of the hypothesis that it is 0, which agree."""

    p: float


def paired_interval(gains: Floats, resamples: int, confidence: float, seed: int) -> Mean:
    """Return the mean of one difference per problem, its interval over problems and the matching p value.

    p is the level at which the interval of :func:`mean_interval` just reaches 0, so that p is below
    ``1 - confidence`` if and only if the interval excludes 0. It is at least 1 / ``resamples``.

    Args:
        gains: second minus first on each common problem, (P,), from -1 to 1.
        resamples: number of bootstrap resamples.
        confidence: level of the interval.
        seed: seed of the bootstrap.
    """
    found = mean_interval(gains, DIFFERENCE, resamples, confidence, seed)
    if np.ptp(gains) < 1e-12:
        # the limit on the side of 0 is value - unseen * (value + 1), mirrored where value is negative
        p = min(1.0, 2 * (1 / (1 + abs(found.value))) ** found.n)
    else:
        p = _percentile_p(resampled(found.n, resamples, seed) @ gains)
    return Mean(found.value, found.low, found.high, found.n, p)


def _percentile_p(means: Floats) -> float:
    """Return the level at which the percentile interval of resampled means just reaches 0."""
    places = np.linspace(0, 1, means.size)  # as np.percentile interpolates

    def at_most_zero(ordered: Floats) -> float:
        if ordered[0] > 0 or ordered[-1] <= 0:
            return float(ordered[-1] <= 0)
        last = int(np.searchsorted(ordered, 0, side="right")) - 1
        return float(np.interp(0, ordered[last : last + 2], places[last : last + 2]))

    ordered = np.sort(means)
    tail = min(at_most_zero(ordered), at_most_zero(-ordered[::-1]))
    return float(np.clip(2 * tail, 1 / means.size, 1.0))  # the resolution of the resamples


def symmetric(
    value: float, half: Callable[[float], float], n: int, confidence: float, bounds: Bounds | None
) -> Mean:
    """Return ``value`` +- ``half(confidence)``, clipped to ``bounds``, and the p at which it reaches 0."""
    highest = 1 - 1e-12
    if half(highest) <= abs(value):
        p = 0.0 if value else 1.0
    else:
        p = 1 - brentq(lambda level: half(level) - abs(value), 0.0, highest)
    width = half(confidence)
    least, most = bounds or (-np.inf, np.inf)
    return Mean(value, max(value - width, least), min(value + width, most), n, float(p))


def t_interval(values: Sequence[float] | Floats, confidence: float, bounds: Bounds | None = None) -> Mean:
    """Return the mean of independent values with Student's t interval; nan for a single value.

    Args:
        values: (N,).
        confidence: level of the interval.
        bounds: range of the mean, to which the interval is clipped.
    """
    array = np.asarray(values, dtype=np.float64)
    value = float(array.mean()) if array.size else float("nan")
    if array.size < 2:
        return Mean(value, float("nan"), float("nan"), array.size, float("nan"))
    return symmetric(value, lambda level: _t_half(array, level), array.size, confidence, bounds)


def _t_half(values: Floats, confidence: float) -> float:
    """Return the half width of Student's t interval of the mean."""
    error = values.std(ddof=1) / np.sqrt(values.size)
    return float(stdtrit(values.size - 1, (1 + confidence) / 2) * error)


def crossed_interval(values: Floats, confidence: float, bounds: Bounds | None = None) -> Mean:
    r"""Return the mean over seeds and problems, both treated as random samples, with its interval.

    Crossed random effects: :math:`y_{sp} = \mu + a_s + b_p + e_{sp}`. The mean squares of seeds, problems
    and residual estimate :math:`P\sigma_a^2 + \sigma_e^2`, :math:`S\sigma_b^2 + \sigma_e^2` and
    :math:`\sigma_e^2`, so that :math:`(M_S + M_P - M_E) / SP` estimates the variance of the mean
    (Searle, Casella and McCulloch 1992, Variance Components, section 4.3). It is at least the largest of the
    three mean squares, since no component is negative. The half width is the largest of three:

    - t with the degrees of freedom of Satterthwaite (1946), too narrow if seeds differ much, since
      three seeds that happen to be similar count as many degrees of freedom;
    - the square root of the summed squared half widths of the components (after Graybill and Wang 1980),
      too narrow if problems do not differ;
    - Student's t over the means of the seeds, which ignores the sampling of problems.

    With three seeds and 400 problems, nominal 95 % intervals cover 95 to 98 %, and 99 % if neither problems
    nor seeds differ.

    Args:
        values: (S, P). With one seed the interval is over problems only.
        confidence: level of the interval.
        bounds: range of the mean, to which the interval is clipped.
    """
    if min(values.shape) == 1:
        return t_interval(values.ravel(), confidence, bounds)
    seeds, problems = values.shape
    of_seed, of_problem, mean = values.mean(axis=1), values.mean(axis=0), float(values.mean())
    freedom = np.array([seeds - 1, problems - 1, (seeds - 1) * (problems - 1)])
    rest = values - of_seed[:, None] - of_problem + mean
    squares = np.array([problems * of_seed.var(ddof=1), seeds * of_problem.var(ddof=1), 0.0])
    squares[2] = (rest**2).sum() / freedom[2]
    components = np.array([*np.maximum(squares[:2] - squares[2], 0), squares[2]])
    total = max(squares[0] + squares[1] - squares[2], squares.max())
    joint = total**2 / (squares**2 / freedom).sum() if total else 1.0

    def half(level: float) -> float:
        quantile = (1 + level) / 2
        satterthwaite = stdtrit(joint, quantile) ** 2 * total
        graybill_wang = (stdtrit(freedom, quantile) ** 2 * components).sum()
        return max(float(np.sqrt(max(satterthwaite, graybill_wang) / values.size)), _t_half(of_seed, level))

    return symmetric(mean, half, problems, confidence, bounds)


def holm(p: Sequence[float]) -> list[float]:
    """Return p values adjusted by the method of Holm (1979); nan stays nan and does not count."""
    order = [index for index in np.argsort(p) if not np.isnan(p[index])]
    adjusted, least = [float("nan")] * len(p), 0.0
    for rank, index in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * p[index]))
        adjusted[index] = least
    return adjusted
