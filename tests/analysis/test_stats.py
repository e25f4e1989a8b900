"""Estimators against exact values, intervals against their nominal coverage."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from math import comb

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from analysis.stats import (
    crossed_interval,
    holm,
    mean_interval,
    pass_at_k,
    percentiles,
    ratio_gap_interval,
    ratio_interval,
    resampled,
    share_interval,
    t_interval,
)


def exact(n: int, c: int, k: int) -> Fraction:
    return 1 - Fraction(comb(n - c, k), comb(n, k))


def test_pass_at_k_is_the_chance_over_all_draws() -> None:
    """By enumeration of every draw of k of n, for all n up to 12."""
    for n in range(1, 13):
        for c in range(n + 1):
            (found,) = pass_at_k(np.array([n]), np.array([c]), n)
            for k in range(1, n + 1):
                draws = list(combinations(range(n), k))
                hits = sum(any(one < c for one in draw) for draw in draws)
                assert found[k - 1] == pytest.approx(float(Fraction(hits, len(draws))), abs=1e-12)


@pytest.mark.parametrize("c", [0, 1, 2, 7, 100, 1023, 1024, 1025, 2000, 2047, 2048])
def test_pass_at_k_is_exact_and_finite_for_many_samples(c: int) -> None:
    (found,) = pass_at_k(np.array([2048]), np.array([c]), 2048)
    assert np.isfinite(found).all()
    for k in (1, 2, 3, 64, 1000, 1024, 2047, 2048):
        assert abs(found[k - 1] - float(exact(2048, c, k))) < 1e-12


def test_pass_at_k_of_many_problems_with_different_numbers() -> None:
    n, c = np.array([5, 8, 8]), np.array([0, 3, 8])
    found = pass_at_k(n, c, 5)
    assert found.shape == (3, 5)
    assert found[1] == pytest.approx([float(exact(8, 3, k)) for k in range(1, 6)], abs=1e-12)
    assert (found[0], found[2]) == (pytest.approx([0] * 5), pytest.approx([1] * 5))


@pytest.mark.parametrize(("n", "c", "k"), [(4, 1, 5), (4, 1, 0), (4, 5, 2), (4, -1, 2)])
def test_what_cannot_be_estimated_is_refused(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match=r"^(k_max|c)"):
        pass_at_k(np.array([n]), np.array([c]), k)


TRIALS = 2000
COVERAGE = (0.93, 0.97)


def test_wilson_covers_as_it_says() -> None:
    generator = np.random.default_rng(0)
    for p, n in ((0.3, 200), (0.5, 100), (0.85, 400)):
        right = generator.binomial(n, p, TRIALS)
        intervals = {c: share_interval(int(c), n, 0.95) for c in set(right.tolist())}
        covered = np.mean([intervals[c].low <= p <= intervals[c].high for c in right.tolist()])
        assert COVERAGE[0] <= covered <= COVERAGE[1], (p, n, covered)


def test_bootstrap_over_problems_covers_as_it_says() -> None:
    """Problems of different difficulty, 8 trajectories each: the population is that of problems."""
    generator = np.random.default_rng(1)
    truth, hits = 2 / 5, 0
    for _ in range(TRIALS):
        rates = generator.beta(2, 3, 150)
        found = mean_interval(generator.binomial(8, rates) / 8, 2000, 0.95, seed=0)
        hits += found.low <= truth <= found.high
    assert COVERAGE[0] <= hits / TRIALS <= COVERAGE[1]


def test_bootstrap_of_pass_at_k_covers_as_it_says() -> None:
    """Against the mean over the population of the chance that 4 draws hold a correct one."""
    generator = np.random.default_rng(2)
    truth = 1 - 3 * 4 * 5 * 6 / (5 * 6 * 7 * 8)  # 1 - E[(1 - p)^4], p from Beta(2, 3)
    hits = 0
    for _ in range(TRIALS):
        c = generator.binomial(16, generator.beta(2, 3, 150))
        values = pass_at_k(np.full(150, 16), c, 4)[:, 3]
        low, high = percentiles(resampled(150, 2000, 0) @ values, 0.95)
        hits += low <= truth <= high
    assert COVERAGE[0] <= hits / TRIALS <= COVERAGE[1]


def test_bootstrap_of_a_ratio_covers_as_it_says() -> None:
    """Tokens per correct answer: long problems are rarely solved."""
    generator = np.random.default_rng(3)
    hits, truth = 0, 300 / 0.4
    for _ in range(TRIALS):
        rates = generator.beta(2, 3, 150)
        tokens = 8 * generator.gamma(9, 300 / 9, 150)
        right = generator.binomial(8, rates)
        found = ratio_interval(tokens, right, 2000, 0.95, seed=0)
        hits += found.low <= truth <= found.high
    assert COVERAGE[0] <= hits / TRIALS <= COVERAGE[1]


def test_bootstrap_of_two_ratios_covers_as_it_says() -> None:
    """Shares of mended programs: the same problems make both arms fail, one arm more often."""
    generator = np.random.default_rng(4)
    hits = 0
    for _ in range(TRIALS):
        hard = generator.beta(2, 3, 150)
        failed = generator.binomial(8, [hard, hard / 2])
        mended = generator.binomial(failed, [[0.4], [0.7]])
        found = ratio_gap_interval(mended, failed, 2000, 0.95, seed=0)
        hits += found.low <= 0.3 <= found.high
    assert COVERAGE[0] <= hits / TRIALS <= COVERAGE[1]
    nothing = ratio_gap_interval(np.zeros((2, 3)), np.array([[1, 1, 1], [0, 0, 0]]), 100, 0.95, seed=0)
    assert np.isnan(nothing.value)


def test_nothing_has_no_mean_and_no_failure() -> None:
    assert np.isnan(mean_interval([], 100, 0.95, 0).value)
    assert np.isnan(ratio_interval([1.0, 2.0], [0.0, 0.0], 100, 0.95, 0).value)
    assert share_interval(0, 0, 0.95).n == 0


def test_resamples_are_those_of_their_seed() -> None:
    assert (resampled(10, 50, 7) == resampled(10, 50, 7)).all()
    assert (resampled(10, 50, 7) != resampled(10, 50, 8)).any()
    assert resampled(10, 50, 7).sum(axis=1) == pytest.approx(1.0)


def crossed(generator: np.random.Generator, seed: float, problem: float, rest: float) -> np.ndarray:
    """Three seeds and 400 problems with these standard deviations around 0."""
    return (
        generator.normal(0, seed, (3, 1))
        + generator.normal(0, problem, (1, 400))
        + generator.normal(0, rest, (3, 400))
    )


@pytest.mark.parametrize(
    ("seed", "problem", "least", "most"),
    [
        (0.0, 0.3, 0.93, 0.975),
        (0.01, 0.3, 0.93, 0.97),
        (0.03, 0.3, 0.93, 0.97),
        (0.3, 0.3, 0.93, 0.97),
        (0.04, 0.0, 0.93, 0.97),
        (0.0, 0.0, 0.95, 0.99),  # too wide where neither differs, and said to be
    ],
)
def test_crossed_interval_covers_as_it_says(seed: float, problem: float, least: float, most: float) -> None:
    generator = np.random.default_rng(4)
    found = [crossed_interval(crossed(generator, seed, problem, 0.4), 0.95) for _ in range(TRIALS)]
    assert least <= np.mean([one.low <= 0 <= one.high for one in found]) <= most


def test_crossed_interval_of_correct_or_not_covers_as_it_says() -> None:
    """Differences of two arms with a trajectory each: seeds, problems and single answers vary."""
    generator = np.random.default_rng(5)
    hits = 0
    for _ in range(TRIALS):
        ease = generator.beta(2, 2, 400) * 0.8 + 0.1
        arms = [
            generator.random((3, 400)) < ease * 0.9 + generator.normal(0, 0.02, (3, 1)) + shift
            for shift in (0.0, 0.05)
        ]
        found = crossed_interval(arms[1] - arms[0].astype(float), 0.95)
        hits += found.low <= 0.05 <= found.high
    assert COVERAGE[0] <= hits / TRIALS <= COVERAGE[1]


def test_intervals_over_one_seed_or_one_problem_are_over_the_other() -> None:
    values = np.array([0.2, 0.4, 0.9, 0.1])
    assert crossed_interval(values[None, :], 0.95) == t_interval(values, 0.95)
    assert crossed_interval(values[:, None], 0.95) == t_interval(values, 0.95)


def test_t_interval_is_students() -> None:
    values = np.array([0.2, 0.4, 0.9, 0.1])
    found, known = t_interval(values, 0.9), ttest_1samp(values, 0)
    assert (found.low, found.high) == pytest.approx(tuple(known.confidence_interval(0.9)))
    assert (found.value, found.p, found.n) == pytest.approx((0.4, known.pvalue, 4))
    assert np.isnan([t_interval([1.0], 0.9).low, t_interval([1.0], 0.9).p, t_interval([], 0.9).value]).all()


def test_interval_and_p_value_agree() -> None:
    generator = np.random.default_rng(6)
    for _ in range(200):
        values = crossed(generator, 0.03, 0.3, 0.4) + 0.05
        found = crossed_interval(values, 0.95)
        assert (found.low <= 0 <= found.high) == (found.p >= 0.05)
        at_p = crossed_interval(values, 1 - found.p)
        assert min(abs(at_p.low), abs(at_p.high)) == pytest.approx(0, abs=1e-8)


def test_what_does_not_vary_is_sure() -> None:
    for values, p in ((np.zeros((3, 5)), 1.0), (np.full((3, 5), 0.5), 0.0)):
        found = crossed_interval(values, 0.95)
        assert (found.low, found.high, found.p) == (values[0, 0], values[0, 0], p)
        assert t_interval(values[0], 0.95).p == p


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.02, float("nan")]) == pytest.approx([0.02, float("nan")], nan_ok=True)
    assert holm([]) == []
