from __future__ import annotations

from dataclasses import replace
from importlib import import_module

import pytest

from src.config import RewardConfig
from src.rewards import Outcome, compose
from src.rewards.terms import OPTIONAL, TERMS


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
    """With weights upside down, it still says what grading said (docs/design.md, invariant Correctness)."""
    reward = compose(outcome(correct), RewardConfig(correct=-2.0, wrong=3.0))
    assert reward.correct is correct
    assert reward.total == (-2.0 if correct else 3.0)


def test_the_total_is_the_sum_of_all_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    terms = {**TERMS, "failures": lambda outcome, cfg: -0.25 * outcome.statuses.count("error")}
    monkeypatch.setattr(import_module("src.rewards.compose"), "TERMS", terms)
    reward = compose(outcome(True), RewardConfig())
    assert dict(reward.terms) == {"correctness": 1.0, "failures": -0.25}
    assert reward.total == 0.75


LONG = Outcome(True, None, ("x",), ("ok", "error", "timeout"), "length", tokens=900, max_tokens=1000)


@pytest.mark.parametrize(
    ("weights", "terms"),
    [
        ({"executability": 0.5}, {"executability": -0.5}),
        ({"answered": 0.1}, {"answered": 0.0}),
        ({"tool_cost": 0.2}, {"tool_cost": pytest.approx(-0.6)}),
        ({"overlong": 2.0, "overlong_tokens": 400}, {"overlong": -1.5}),
        ({"overlong": 2.0, "overlong_tokens": 100}, {"overlong": 0.0}),
        ({"executability": 0.5, "tool_cost": 1.0}, {"executability": -0.5, "tool_cost": -3.0}),
    ],
)
def test_optional_terms(weights: dict[str, float], terms: dict[str, float]) -> None:
    reward = compose(LONG, RewardConfig(**weights))
    assert dict(reward.terms) == {"correctness": 1.0, **terms}
    assert reward.total == pytest.approx(
        1.0 + sum(compose(LONG, RewardConfig(**weights)).terms.values()) - 1.0
    )


def test_terms_of_a_good_and_short_trajectory_take_nothing_off() -> None:
    good = Outcome(True, "5", ("x",), ("ok",), "answered", tokens=10, max_tokens=1000)
    reward = compose(good, RewardConfig(executability=0.5, overlong=1.0, answered=0.25))
    assert dict(reward.terms) == {"correctness": 1.0, "executability": 0.0, "overlong": 0.0, "answered": 0.25}
    wrong = compose(replace(good, correct=False), RewardConfig(tool_cost=0.5))
    assert wrong.terms["tool_cost"] == 0.0


def test_every_optional_term_has_a_weight_and_every_term_is_known() -> None:
    assert set(OPTIONAL) | {"correctness"} == set(TERMS)
    assert all(getattr(RewardConfig(), name) == 0 for name in OPTIONAL)


def test_the_overlong_penalty_is_a_ramp() -> None:
    cfg = RewardConfig(overlong=1.0, overlong_tokens=200)
    found = [compose(replace(LONG, tokens=n), cfg).terms["overlong"] for n in (0, 800, 801, 900, 1000, 1100)]
    assert found == pytest.approx([0, 0, -0.005, -0.5, -1, -1])
