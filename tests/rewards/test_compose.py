from __future__ import annotations

from importlib import import_module

import pytest

from src.config import RewardConfig
from src.rewards import Outcome, compose
from src.rewards.terms import TERMS


def outcome(correct: bool) -> Outcome:
    return Outcome(
        correct=correct,
        answer="5",
        policy_texts=(r"\boxed{5}",),
        statuses=("ok", "error"),
        stop_reason="answered",
    )


@pytest.mark.parametrize(("correct", "value"), [(True, 1.0), (False, -1.0)])
def test_right_and_wrong(correct: bool, value: float) -> None:
    reward = compose(outcome(correct), RewardConfig())
    assert (reward.correct, reward.total, dict(reward.terms)) == (correct, value, {"correctness": value})


@pytest.mark.parametrize("correct", [True, False])
def test_correctness_is_not_inferred_from_the_reward(correct: bool) -> None:
    """Invariant 7: with weights upside down, ``correct`` still says what grading said."""
    reward = compose(outcome(correct), RewardConfig(correct=-2.0, wrong=3.0))
    assert reward.correct is correct
    assert reward.total == (-2.0 if correct else 3.0)


def test_the_total_is_the_sum_of_all_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    terms = {**TERMS, "failures": lambda outcome, cfg: -0.25 * outcome.statuses.count("error")}
    monkeypatch.setattr(import_module("src.rewards.compose"), "TERMS", terms)
    reward = compose(outcome(True), RewardConfig())
    assert dict(reward.terms) == {"correctness": 1.0, "failures": -0.25}
    assert reward.total == 0.75
