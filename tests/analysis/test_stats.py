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
    paired_interval,
    pass_at_k,
    ratio_gap_interval,
    ratio_interval,
    t_interval,
)
from src.run.intervals import DIFFERENCE, SHARE, mean_limits, resampled


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


def test_bootstrap_over_problems_covers_as_it_says() -> None:
    """Problems of different difficulty, 8 trajectories each: the population is that of problems."""
    generator = np.random.default_rng(1)
    truth, hits = 2 / 5, 0
    for _ in range(TRIALS):
        rates = generator.beta(2, 3, 150)
        found = mean_interval(generator.binomial(8, rates) / 8, SHARE, 2000, 0.95, seed=0)
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
        low, high = mean_limits(values, SHARE, 2000, 0.95, 0)
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


def test_a_share_that_is_the_same_on_all_problems_is_not_sure() -> None:
    """Nothing mended in 40 problems, in one arm or in both: 1 - 0.025 ** (1 / 40) = 0.0881."""
    none, failed = np.zeros(40), np.arange(1.0, 41)
    found = ratio_interval(none, failed, 2000, 0.95, 0, SHARE)
    assert (found.low, found.high) == pytest.approx((0, 0.0881), abs=1e-4)
    gap = ratio_gap_interval(np.stack([none, none]), np.stack([failed, failed]), 2000, 0.95, 0)
    assert (gap.low, gap.value, gap.high) == pytest.approx((-0.0881, 0, 0.0881), abs=1e-4)
    tokens = ratio_interval(3 * failed, failed, 2000, 0.95, 0)  # tokens are no share
    assert (tokens.low, tokens.high) == pytest.approx((3, 3))


def test_a_paired_difference_and_its_p_value_agree() -> None:
    generator = np.random.default_rng(7)
    for _ in range(300):
        n = int(generator.integers(2, 40))
        gains = generator.choice([-0.5, 0, 0, 0.25, 0.5], n) + generator.choice([0, 0.125])
        found = paired_interval(gains, 1000, 0.95, 0)
        assert (found.low <= 0 <= found.high) == (found.p >= 0.05), (gains, found)
        if 1 / 1000 < found.p < 1:
            at_p = paired_interval(gains, 1000, 1 - found.p, 0)
            assert min(abs(at_p.low), abs(at_p.high)) == pytest.approx(0, abs=1e-6)


def test_a_paired_difference_by_hand() -> None:
    """All of 60 problems gain 0.2: p = 2 / 1.2 ** 60; none of them gains: p = 1."""
    assert paired_interval(np.full(60, 0.2), 1000, 0.95, 0).p == pytest.approx(2 / 1.2**60)
    assert paired_interval(np.full(60, -0.2), 1000, 0.95, 0).p == pytest.approx(2 / 1.2**60)
    assert paired_interval(np.zeros(60), 1000, 0.95, 0).p == 1.0


def test_a_paired_difference_of_unequal_samples_covers_as_it_says() -> None:
    """One trajectory of each problem against 16: problems are as hard for both, the second gains 0.1."""
    generator = np.random.default_rng(8)
    hits = 0
    for _ in range(TRIALS):
        ease = generator.beta(1, 1, 100) * 0.8
        gains = generator.binomial(16, ease + 0.1) / 16 - generator.binomial(1, ease)
        found = paired_interval(gains, 2000, 0.95, 0)
        hits += found.low <= 0.1 <= found.high
    assert COVERAGE[0] <= hits / TRIALS <= COVERAGE[1]


def test_nothing_has_no_mean_and_no_failure() -> None:
    assert np.isnan(mean_interval([], SHARE, 100, 0.95, 0).value)
    assert np.isnan(ratio_interval([1.0, 2.0], [0.0, 0.0], 100, 0.95, 0).value)


def test_resamples_are_those_of_their_seed() -> None:
    assert (resampled(10, 50, 7) == resampled(10, 50, 7)).all()
    assert (resampled(10, 50, 7) != resampled(10, 50, 8)).any()
    assert resampled(10, 50, 7).sum(axis=1) == pytest.approx(1.0)


def crossed(
    generator: np.random.Generator, seed: float, problem: float, rest: float, seeds: int = 3
) -> np.ndarray:
    """Three seeds and 400 problems with these standard deviations around 0."""
    return (
        generator.normal(0, seed, (seeds, 1))
        + generator.normal(0, problem, (1, 400))
        + generator.normal(0, rest, (seeds, 400))
    )


@pytest.mark.parametrize(
    ("seeds", "seed", "problem", "least", "most"),
    [
        (3, 0.0, 0.3, 0.93, 0.985),
        (3, 0.01, 0.3, 0.93, 0.97),
        (3, 0.03, 0.3, 0.93, 0.975),
        (3, 0.3, 0.3, 0.93, 0.97),
        (3, 1.0, 0.3, 0.93, 0.97),  # seeds differ more than anything else
        (3, 1.0, 0.0, 0.93, 0.97),
        (2, 0.3, 0.3, 0.93, 0.97),
        (2, 1.0, 0.3, 0.93, 0.97),
        (2, 0.01, 0.3, 0.93, 1.0),
        (5, 1.0, 0.3, 0.93, 0.97),
        (3, 0.04, 0.0, 0.93, 0.97),
        (3, 0.0, 0.0, 0.95, 1.0),  # too wide where neither differs, and said to be
    ],
)
def test_crossed_interval_covers_as_it_says(
    seeds: int, seed: float, problem: float, least: float, most: float
) -> None:
    generator = np.random.default_rng(4)
    found = [crossed_interval(crossed(generator, seed, problem, 0.4, seeds), 0.95) for _ in range(TRIALS)]
    assert least <= np.mean([one.low <= 0 <= one.high for one in found]) <= most


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("deviation", [0.0, 0.01, 0.3, 2.0])
def test_crossed_interval_is_never_narrower_than_students_over_seeds(seeds: int, deviation: float) -> None:
    generator = np.random.default_rng(9)
    for _ in range(100):
        values = crossed(generator, deviation, 0.3, 0.4, seeds)
        found, over_seeds = crossed_interval(values, 0.95), t_interval(values.mean(axis=1), 0.95)
        assert found.low <= over_seeds.low + 1e-12
        assert found.high >= over_seeds.high - 1e-12
        assert found.p >= over_seeds.p - 1e-9


def test_seeds_that_are_alike_by_chance_do_not_make_sure() -> None:
    """Three paired differences, by hand: mean 0.045, t = 5.72, p = 0.029 with 2 degrees of freedom."""
    generator = np.random.default_rng(10)
    values = generator.normal(0, 0.25, (3, 300))
    values += (np.array([0.06, 0.0417, 0.0333]) - values.mean(axis=1))[:, None]
    found = crossed_interval(values, 0.95)
    assert (found.low, found.high, found.p) == pytest.approx((0.0111, 0.0789, 0.0293), abs=2e-4)


def test_an_interval_ends_where_the_possible_does() -> None:
    values = np.array([0.105, 0.472, 0.005])
    free, cut = t_interval(values, 0.95), t_interval(values, 0.95, SHARE)
    assert (free.low < 0, cut.low, cut.high, cut.p) == (True, 0.0, free.high, free.p)
    gaps = np.repeat([[-0.72], [-0.377], [-0.823]], 5, axis=1)
    assert crossed_interval(gaps, 0.95).low < -1
    assert crossed_interval(gaps, 0.95, DIFFERENCE).low == -1.0


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
    assert COVERAGE[0] <= hits / TRIALS <= 0.985


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
