"""Jumps of curves against their trends: by hand, and their coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from analysis.trends import level_change, spans


def test_spans_end_at_other_rises_and_at_the_ends() -> None:
    assert spans([3, 13, 27], 10, 30) == [(0, 3, 13), (3, 13, 23), (17, 27, 30)]
    assert spans([], 10, 30) == []


def test_a_jump_by_hand() -> None:
    """Lines through 0, 1, 2, 3 and 6, 6, 6 are at 4 and 6 at step 4; errors by ordinary least squares."""
    found = level_change(np.arange(7), np.array([0.0, 1, 2, 3, 6, 6, 6]), 4, 0.95)
    assert (found.value, found.low, found.high, found.n, found.p) == pytest.approx((2, 2, 2, 7, 0), abs=1e-9)
    before, after = np.array([0.0, 0.5, 0.2, 0.9]), np.array([2.0, 1.7, 2.2, 2.1, 2.6])
    steps, errors = np.arange(-4, 5), []
    for x, y in ((steps[:4], before), (steps[4:], after)):
        design = np.stack([np.ones(x.size), x], axis=1)
        rest = y - design @ np.linalg.lstsq(design, y)[0]
        errors.append((rest @ rest) / (x.size - 2) * np.linalg.inv(design.T @ design)[0, 0])
    found = level_change(steps, np.concatenate([before, after]), 0, 0.95)
    freedom = sum(errors) ** 2 / (errors[0] ** 2 / 2 + errors[1] ** 2 / 3)
    assert 2 < freedom < 5
    assert found.value == pytest.approx(1.8 - 1.0)  # the lines are 1.0 + 0.24 x and 1.8 + 0.16 x
    half = t.ppf(0.975, freedom) * np.sqrt(sum(errors))
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half))


@pytest.mark.parametrize(
    ("values", "value", "interval"),
    [
        ([1.0, 2, 5, 6], 2.0, False),
        ([1.0, np.nan, 5, 6], np.nan, False),
        ([1.0, 2, 3, 5, 6, 7.5], None, True),
    ],
)
def test_two_steps_a_side_give_a_jump_and_three_an_interval(
    values: list[float], value: float | None, interval: bool
) -> None:
    found = level_change(np.arange(len(values)), np.array(values), len(values) // 2, 0.95)
    if value is not None:
        assert found.value == pytest.approx(value, nan_ok=True)
    assert np.isfinite(found.low) == interval


@pytest.mark.parametrize(("jump", "slopes"), [(0.0, (0.02, 0.02)), (-0.05, (0.02, 0.0)), (0.1, (0.0, 0.0))])
def test_the_interval_covers_as_it_says(jump: float, slopes: tuple[float, float]) -> None:
    generator, steps, hits = np.random.default_rng(0), np.arange(20), 0
    trend = np.where(steps < 10, slopes[0] * (steps - 10), jump + slopes[1] * (steps - 10))
    for _ in range(1000):
        found = level_change(steps, trend + generator.normal(0, 0.03, 20), 10, 0.95)
        hits += found.low <= jump <= found.high
    assert 0.93 <= hits / 1000 <= 0.97
