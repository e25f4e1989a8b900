"""Rules that fire: when, how often, and what a run does then."""

from __future__ import annotations

import pytest

from src.config import AlarmConfig, Config, RuleConfig
from src.config.composition import compose
from src.config.schema import build
from src.launch.checks import check
from src.rollout.metrics import summarise
from src.run.alarms import AlarmError, Alarms, build_alarms, stop_if_asked
from src.trainer.grpo_settings import TRL_METRICS
from tests.run.test_records import RECORD

LOW = RuleConfig(name="low", metric="x", below=0.1, steps=3, message="look at x")
HIGH = RuleConfig(name="high", metric="y", above=1.0, action="stop", message="look at y")


def fired(alarms: Alarms, values: list[float | None], metric: str = "x") -> list[bool]:
    return [
        bool(alarms.check(step, {} if value is None else {metric: value}))
        for step, value in enumerate(values)
    ]


def test_a_rule_fires_after_so_many_steps_in_a_row_and_at_each_further_one() -> None:
    assert fired(Alarms([LOW]), [0, 0, 0, 0, 1, 0, 0]) == [False, False, True, True, False, False, False]
    assert fired(Alarms([LOW]), [0, 0, None, 0, 0, 0]) == [False] * 5 + [True], (
        "a step without it breaks the row"
    )
    assert fired(Alarms([LOW]), [0.1] * 5) == [False] * 5, "the bound itself is allowed"
    assert fired(Alarms([HIGH]), [1.0, 1.1, float("nan")], "y") == [False, True, True]


def test_what_it_says_and_logs() -> None:
    alarms = Alarms([HIGH, LOW])
    found = alarms.check(7, {"y": 2.5, "x": 3.0})
    assert [str(one) for one in found] == ["alarm high at step 7: y is 2.5, above 1; look at y"]
    assert alarms.metrics(found) == {"alarm/high": 1.0, "alarm/low": 0.0}
    for _ in range(3):
        found = alarms.check(8, {"x": 0.0})
    assert str(found[0]) == "alarm low at step 8: x is 0, below 0.1 for 3 steps; look at x"


def test_only_rules_that_say_so_stop_the_run() -> None:
    alarms = Alarms([HIGH, RuleConfig(name="warns", metric="y", above=1.0)])
    found = alarms.check(0, {"y": 2.0})
    assert len(found) == 2
    with pytest.raises(AlarmError, match=r"^alarm high at step 0: y is 2, above 1; look at y$"):
        stop_if_asked(found)
    stop_if_asked(found[1:])


def test_rules_about_executions_do_not_fire_where_there_are_none() -> None:
    """With tools off, or a budget of 0; what else there is still does."""
    cfg = build(Config, compose("train", Config, ["+experiment=text_only"]))
    nothing_runs = {
        "executions_per_trajectory": 0.0,
        "budget_exhausted_rate": 0.0,
        "budget": 2.0,
        "entropy": 1.0,
    }

    def names(tools: bool, **metrics: float) -> set[str]:
        alarms = build_alarms(cfg.alarm, tools=tools)
        return {one.rule.name for step in range(9) for one in alarms.check(step, nothing_runs | metrics)}

    assert names(cfg.rollout.tools) == set()
    assert names(True, budget=0.0) == set()
    assert names(True) == {"executions_vanish"}
    assert names(False, entropy=0.0) == {"entropy_collapse"}


def test_every_default_rule_names_a_metric_that_there_is() -> None:
    cfg = build(Config, compose("train", Config, []))
    known = set(summarise([RECORD])) | set(TRL_METRICS) | {"stop/infrastructure"}
    assert {rule.metric for rule in cfg.alarm.rules} <= known
    assert check(cfg.alarm) == []
    healthy = {"executions_per_trajectory": 1.0, "budget_exhausted_rate": 0.2, "entropy": 0.1,
               "frac_reward_zero_std": 0.5, "sampling/sampling_logp_difference/mean": 1e-3,
               "stop/infrastructure": 0.0, "correct_without_text": 0.0}  # fmt: skip
    alarms = build_alarms(cfg.alarm)
    assert [alarms.check(step, healthy) for step in range(20)] == [[]] * 20


def test_rules_that_cannot_be_meant_are_refused() -> None:
    both = RuleConfig(name="a", metric="x", above=1.0, below=0.0)
    neither = RuleConfig(name="a", metric="x")
    faults = check(AlarmConfig(rules=[both, neither]))
    assert len(faults) == 3
    assert "rules[0] (a): above=1.0, below=0.0; give exactly one of them" in faults[0]
    assert "several rules have the name a" in faults[2]
