"""Intervals over problems: values by hand, exact where nothing varies, and their coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from src.run.intervals import DIFFERENCE, SHARE, mean_limits, percentiles, resampled, unseen, widened, wilson

TRIALS = 2000


def limits(values: list[float], bounds: tuple[float, float] = SHARE) -> tuple[float, float]:
    low, high = mean_limits(values, bounds, 2000, 0.95, 0)
    return float(low), float(high)


@pytest.mark.parametrize("n", [1, 8, 100])
def test_none_right_and_all_right_have_the_limits_of_clopper_and_pearson(n: int) -> None:
    for right in (0, n):
        exact = binomtest(right, n).proportion_ci(0.95, method="exact")
        assert limits([right / n] * n) == pytest.approx((exact.low, exact.high))
    assert limits([0.0] * n) == pytest.approx((0, 1 - 0.025 ** (1 / n)))
    assert unseen(100, 0.95) == pytest.approx(0.0362, abs=1e-4)


def test_alike_but_neither_right_nor_wrong() -> None:
    """Half right on each of 5 problems: 1 - 0.025 ** 0.2 = 0.5218 of all could be always wrong, or right."""
    assert limits([0.5] * 5) == pytest.approx((0.5 - 0.5218 / 2, 0.5 + 0.5218 / 2), abs=1e-4)
    assert limits([0.0] * 5, DIFFERENCE) == pytest.approx((-0.5218, 0.5218), abs=1e-4)
    assert limits([0.2] * 5, DIFFERENCE) == pytest.approx((0.2 - 1.2 * 0.5218, 0.2 + 0.8 * 0.5218), abs=1e-4)


def test_the_first_problem_that_differs_does_not_narrow_the_interval() -> None:
    """1 of 800 trajectories right, 8 of each problem: no surer than with none."""
    none, one = limits([0.0] * 100), limits([0.0] * 99 + [1 / 8])
    assert one[0] == 0
    assert one[1] >= none[1]


def test_where_problems_differ_it_is_the_bootstrap() -> None:
    values = np.random.default_rng(0).integers(0, 9, 60) / 8
    plain = percentiles(resampled(60, 2000, 0) @ values, 0.95)
    for bounds in (SHARE, DIFFERENCE):
        assert limits(values.tolist(), bounds) == pytest.approx(tuple(map(float, plain)))


def test_several_means_at_once() -> None:
    values = np.array([[0.0, 1.0, 0.5], [0.0, 0.0, 0.25], [0.0, 1.0, 1.0]])
    low, high = mean_limits(values, SHARE, 500, 0.9, 3)
    each = [mean_limits(values[:, k], SHARE, 500, 0.9, 3) for k in range(3)]
    assert (low.tolist(), high.tolist()) == ([float(a) for a, _ in each], [float(b) for _, b in each])


def test_widened_never_narrows() -> None:
    low, high = widened(0.4, 0.1, 0.7, 100, SHARE, 0.95)
    assert (low, high) == (0.1, 0.7)


@pytest.mark.parametrize(("p", "n"), [(0.3, 200), (0.5, 100), (0.85, 400)])
def test_wilson_covers_as_it_says(p: float, n: int) -> None:
    right = np.random.default_rng(0).binomial(n, p, TRIALS).tolist()
    intervals = {c: wilson(c, n, 0.95) for c in set(right)}
    assert 0.93 <= np.mean([intervals[c][0] <= p <= intervals[c][1] for c in right]) <= 0.97


@pytest.mark.parametrize("share", [0.005, 0.01, 0.02, 0.99])
def test_near_the_ends_it_covers_at_least_as_it_says(share: float) -> None:
    """Few problems of 100 can be solved, those always: most draws hold none or one of them."""
    draws = np.random.default_rng(1).binomial(100, share, TRIALS).tolist()
    intervals = {c: limits([1.0] * c + [0.0] * (100 - c)) for c in set(draws)}
    covered = [intervals[c][0] - 1e-12 <= share <= intervals[c][1] + 1e-12 for c in draws]
    assert np.mean(covered) >= 0.93
    bare = {
        c: percentiles(resampled(100, 2000, 0) @ np.repeat([1.0, 0.0], [c, 100 - c]), 0.95) for c in intervals
    }
    plain = np.mean([bare[c][0] <= share <= bare[c][1] for c in draws])
    assert plain < 0.9, "the bootstrap alone would do"


@pytest.mark.parametrize(("a", "b"), [(2.0, 3.0), (0.5, 0.5), (20.0, 30.0)])
def test_a_mean_over_problems_of_8_trajectories_covers_as_it_says(a: float, b: float) -> None:
    """Problems of any difficulty, either solved or not, or all alike: the population is that of problems."""
    generator = np.random.default_rng(2)
    hits = 0
    for _ in range(TRIALS):
        low, high = mean_limits(generator.binomial(8, generator.beta(a, b, 150)) / 8, SHARE, 2000, 0.95, 0)
        hits += low <= a / (a + b) <= high
    assert 0.93 <= hits / TRIALS <= 0.97
