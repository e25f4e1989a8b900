"""What a person reads while a run goes on."""

from __future__ import annotations

from src.run.console import comparison, step_line

METRICS = {"reward": 0.5, "accuracy": 0.7, "budget": 2, "executions_per_trajectory": 1.0, "tokens/policy": 9,
           "seconds/step": 1.0}  # fmt: skip


def test_a_step_has_the_number_of_its_records() -> None:
    """In metrics.jsonl steps are counted from 0; what is done is counted from 1."""
    assert step_line(8, 55, METRICS).startswith("step   8 (9/55 done)  reward +0.500  accuracy 0.700")


def test_an_evaluation_that_lost_trajectories_says_both_accuracies() -> None:
    result = {"accuracy": 0.5, "interval": [0.3, 0.7], "n": 8, "problems": 8, "k": [1, 1], "by_subject": {}}
    lost = result | {"infrastructure": 2, "lost_as_wrong": {"accuracy": 0.4, "interval": [0.2, 0.6]}}
    caption = str(comparison({"before": {"free": result}, "after": {"free": lost}}).caption)
    assert caption.startswith("after, free: 2 trajectories were lost to the infrastructure")
    assert caption.endswith("with them as wrong: 40.0 % [20.0, 60.0]")
