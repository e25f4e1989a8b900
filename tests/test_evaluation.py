"""Accuracies and their intervals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from src.evaluation import accuracy_interval, summary
from tests.test_records import RECORD


def wilson(right: int, n: int) -> tuple[float, float]:
    z = 1.959963984540054
    p, d = right / n, 1 + z * z / n
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (p + z * z / (2 * n) - half) / d, (p + z * z / (2 * n) + half) / d


@pytest.mark.parametrize(("right", "n"), [(0, 10), (7, 10), (10, 10), (180, 400)])
def test_one_trajectory_a_problem_gives_wilsons_interval(right: int, n: int) -> None:
    outcomes = [[True]] * right + [[False]] * (n - right)
    assert accuracy_interval(outcomes) == pytest.approx(wilson(right, n), abs=1e-9)


def test_trajectories_of_one_problem_do_not_count_as_independent() -> None:
    """Problems all right or all wrong: 64 trajectories each tell no more than one does."""
    outcomes = [[True] * 64] * 20 + [[False] * 64] * 20
    low, high = accuracy_interval(outcomes)
    assert high - low == pytest.approx(np.subtract(*wilson(20, 40)[::-1]), abs=0.05)
    assert accuracy_interval(outcomes) == (low, high)


def test_the_same_everywhere_and_nothing_at_all() -> None:
    assert accuracy_interval([[True, False]] * 5) == (0.5, 0.5)
    assert accuracy_interval([]) == (0.0, 1.0)


def test_summary_by_subject_leaves_out_what_the_infrastructure_spoilt() -> None:
    records = [
        replace(RECORD, problem_id="a"),
        replace(RECORD, problem_id="b", correct=False),
        replace(RECORD, problem_id="c", subject="Geometry"),
        replace(RECORD, problem_id="d", subject=None),
        replace(RECORD, problem_id="e", correct=False, stop_reason="infrastructure", rewards=None),
    ]
    result = summary(records)
    assert (result["accuracy"], result["n"]) == (0.75, 4)
    assert {s: (r["accuracy"], r["n"]) for s, r in result["by_subject"].items()} == {
        "Algebra": (0.5, 2), "Geometry": (1.0, 1), "none": (1.0, 1)
    }  # fmt: skip
    assert result["metrics"]["stop/infrastructure"] == 0.2
