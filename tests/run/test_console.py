"""What a person reads while a run goes on."""

from __future__ import annotations

from src.run.console import step_line

METRICS = {"reward": 0.5, "accuracy": 0.7, "budget": 2, "executions_per_trajectory": 1.0, "tokens/policy": 9,
           "seconds/step": 1.0}  # fmt: skip


def test_a_step_has_the_number_of_its_records() -> None:
    """In metrics.jsonl steps are counted from 0; what is done is counted from 1."""
    assert step_line(8, 55, METRICS).startswith("step   8 (9/55 done)  reward +0.500  accuracy 0.700")
