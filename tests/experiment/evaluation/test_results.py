"""Accuracies and their intervals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from src.experiment.evaluation.results import Results, accuracy_interval
from src.run.console import comparison, size
from tests.run.test_records import RECORD


def wilson(right: int, n: int) -> tuple[float, float]:
    z = 1.959963984540054
    p, d = right / n, 1 + z * z / n
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (p + z * z / (2 * n) - half) / d, (p + z * z / (2 * n) + half) / d


@pytest.mark.parametrize(("right", "n"), [(1, 10), (7, 10), (9, 10), (180, 400)])
def test_one_trajectory_a_problem_gives_wilsons_interval(right: int, n: int) -> None:
    outcomes = [[True]] * right + [[False]] * (n - right)
    assert accuracy_interval(outcomes) == pytest.approx(wilson(right, n), abs=1e-9)


def test_none_or_all_right_has_the_exact_limits() -> None:
    """0 of 10: the upper limit is the share with which that happens in 2.5 % of the cases; for any k."""
    limit = 1 - 0.025 ** (1 / 10)
    assert accuracy_interval([[False]] * 10) == pytest.approx((0, limit))
    assert accuracy_interval([[True]] * 10) == pytest.approx((1 - limit, 1))
    assert accuracy_interval([[False] * 2] * 10) == pytest.approx((0, limit))


def test_trajectories_of_one_problem_do_not_count_as_independent() -> None:
    """Problems all right or all wrong: 64 trajectories each tell no more than one does."""
    outcomes = [[True] * 64] * 20 + [[False] * 64] * 20
    low, high = accuracy_interval(outcomes)
    assert high - low == pytest.approx(np.subtract(*wilson(20, 40)[::-1]), abs=0.05)
    assert accuracy_interval(outcomes) == (low, high)


def test_the_same_everywhere_is_not_sure_and_nothing_at_all() -> None:
    """8 trajectories of 100 problems, none right: 1 - 0.025 ** (1 / 100), for problems are what is drawn."""
    assert accuracy_interval([[False] * 8] * 100) == pytest.approx((0, 0.0362), abs=1e-4)
    assert accuracy_interval([[True] * 8] * 100) == pytest.approx((0.9638, 1), abs=1e-4)
    assert accuracy_interval([[True, False]] * 5) == pytest.approx((0.2391, 0.7609), abs=1e-4)
    assert accuracy_interval([]) == (0.0, 1.0)


def test_n_says_how_many_problems_and_trajectories_of_each() -> None:
    records = [replace(RECORD, problem_id=problem, sample=sample, correct=problem == "a")
               for problem, k in (("a", 3), ("b", 1)) for sample in range(k)]  # fmt: skip
    result = Results(records).summary()
    assert (result["n"], result["problems"], result["k"]) == (4, 2, [1, 3])
    assert result["accuracy"] == 0.5, "a problem counts once, as in its interval"
    assert size(result["problems"], *result["k"]) == "2 x 1-3"
    assert size(120, 8, 8) == "120 x 8"
    table = comparison({"after": {"free": result}})
    assert list(table.columns[2].cells) == ["2 x 1-3", "2 x 1-3"]


def test_summary_by_subject_leaves_out_what_the_infrastructure_spoilt() -> None:
    records = [
        replace(RECORD, problem_id="a"),
        replace(RECORD, problem_id="b", correct=False),
        replace(RECORD, problem_id="c", subject="Geometry"),
        replace(RECORD, problem_id="d", subject=None),
        replace(RECORD, problem_id="e", correct=False, stop_reason="infrastructure", rewards=None),
    ]
    result = Results(records).summary()
    assert (result["accuracy"], result["n"]) == (0.75, 4)
    assert {s: (r["accuracy"], r["n"]) for s, r in result["by_subject"].items()} == {
        "Algebra": (0.5, 2), "Geometry": (1.0, 1), "none": (1.0, 1)
    }  # fmt: skip
    assert result["metrics"]["stop/infrastructure"] == 0.2
