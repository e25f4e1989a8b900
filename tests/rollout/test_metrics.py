"""Metrics of a batch, by hand."""

from __future__ import annotations

from dataclasses import replace
from statistics import mean, pstdev

import pytest

from src.rollout.metrics import Tally, summarise
from src.run.records import ExecutionRecord
from tests.run.test_records import RECORD

OK, ERROR, LOST = (ExecutionRecord(status, 0.1, None) for status in ("ok", "error", "infrastructure"))


def test_counts() -> None:
    wrong = {"correctness": -1.0, "total": -1.0}
    metrics = summarise(
        [
            replace(RECORD, executions=[ERROR, OK]),  # repaired
            replace(RECORD, executions=[ERROR, ERROR], correct=False, rewards=wrong, stop_reason="void"),
            replace(RECORD, executions=[], subject="Geometry"),
            replace(RECORD, executions=[OK, LOST], correct=False, rewards=None, stop_reason="infrastructure"),
        ]
    )
    expected = {
        "reward": 1 / 3,
        "reward_std": (8 / 9) ** 0.5,
        "reward/correctness": 1 / 3,
        "reward_std/correctness": (8 / 9) ** 0.5,
        "accuracy": 2 / 3,
        "grading_failure_rate": 0,
        "accuracy/Algebra": 1 / 2,
        "accuracy/Geometry": 1.0,
        "executions_per_trajectory": 4 / 3,
        "budget_exhausted_rate": 2 / 3,
        "correct_without_text": 0,
        "tool_use_rate": 2 / 3,
        "execution_failure_rate": 3 / 4,
        "accuracy_after_failure": 1 / 2,
        "tokens/policy": 3,
        "tokens/feedback": 2,
        "tokens/dropped": 0,
        "tokens/dropped_ratio": 0,
        "stop/answered": 1 / 2,
        "stop/no_answer": 0,
        "stop/void": 1 / 4,
        "stop/infrastructure": 1 / 4,
        "stop/length": 0,
        "stop/budget": 0,
    }
    assert metrics == pytest.approx(expected)


def test_each_reward_term_has_its_mean_and_deviation() -> None:
    """Also over processes, whose parts differ in size."""
    terms = [(1.0, -0.5), (1.0, 0.0), (-1.0, 0.0), (-1.0, -0.5), (1.0, 0.0)]
    rewards = [{"correctness": one, "executability": other, "total": one + other} for one, other in terms]
    parts = [Tally(), Tally()]
    for index, values in enumerate(rewards):
        parts[index > 0].add(replace(RECORD, rewards=values))
    parts[0].merge(parts[1])
    metrics = parts[0].metrics()
    for name, key in (("", "total"), ("/correctness", "correctness"), ("/executability", "executability")):
        values = [reward[key] for reward in rewards]
        assert metrics[f"reward{name}"] == pytest.approx(mean(values))
        assert metrics[f"reward_std{name}"] == pytest.approx(pstdev(values))


def test_the_share_of_invented_outputs_is_of_the_records_that_say_so() -> None:
    """Records older than the field do not."""
    records = [replace(RECORD, fabricated_output=fabricated) for fabricated in (True, False, False, None)]
    assert summarise(records)["fabricated_output_rate"] == pytest.approx(1 / 3)


def test_what_has_no_case_is_left_out() -> None:
    assert "accuracy_after_failure" not in summarise([RECORD])
    assert "fabricated_output_rate" not in summarise([RECORD])
    assert "execution_failure_rate" not in summarise([replace(RECORD, executions=[])])
