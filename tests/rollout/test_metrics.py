"""Metrics of a batch, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from src.rollout.metrics import summarise
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


def test_the_share_of_invented_outputs_is_of_the_records_that_say_so() -> None:
    """Records older than the field do not."""
    records = [replace(RECORD, fabricated_output=fabricated) for fabricated in (True, False, False, None)]
    assert summarise(records)["fabricated_output_rate"] == pytest.approx(1 / 3)


def test_what_has_no_case_is_left_out() -> None:
    assert "accuracy_after_failure" not in summarise([RECORD])
    assert "fabricated_output_rate" not in summarise([RECORD])
    assert "execution_failure_rate" not in summarise([replace(RECORD, executions=[])])
