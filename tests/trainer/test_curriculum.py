"""Budgets by rollout step."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from src.config import CurriculumConfig
from src.trainer.curriculum import Curriculum, build_curriculum


def test_the_papers_schedule_is_the_default() -> None:
    budget = build_curriculum(CurriculumConfig())
    assert [budget(step) for step in (0, 99, 100, 199, 200, 10_000)] == [2, 2, 3, 3, 4, 4]


def test_fixed() -> None:
    budget = build_curriculum(CurriculumConfig(kind="fixed", budget=0))
    assert {budget(step) for step in range(500)} == {0}


def test_linear_gives_each_budget_as_many_steps() -> None:
    budget = build_curriculum(CurriculumConfig(kind="linear", start=1, budget=4, until=9))
    assert [budget(step) for step in range(12)] == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    down = build_curriculum(CurriculumConfig(kind="linear", start=4, budget=2, until=4))
    assert [down(step) for step in range(6)] == [4, 3, 3, 2, 2, 2]


ADAPTIVE = CurriculumConfig(
    kind="adaptive", start=2, budget=4, window=4, min_exhausted_rate=0.3, max_reward_drift=0.1
)


def play(budget: Curriculum, seen: list[tuple[float, float]], first: int = 0) -> list[int]:
    """Budgets of steps with these shares and rewards."""
    budgets = []
    for step, (share, reward) in enumerate(seen, start=first):
        budgets.append(budget(step))
        budget.observe(step, {"budget_exhausted_rate": share, "reward": reward})
    return budgets


def test_adaptive_rises_under_pressure_once_the_reward_has_settled() -> None:
    pressed = [(0.5, 0.2)] * 10
    assert play(build_curriculum(ADAPTIVE), pressed) == [2, 2, 2, 2, 3, 3, 3, 3, 4, 4]
    assert play(build_curriculum(ADAPTIVE), [(0.5, 0.2)] * 20)[-1] == 4, "never above the last one"
    assert set(play(build_curriculum(ADAPTIVE), [(0.1, 0.2)] * 20)) == {2}, "no pressure"
    rising = [(0.5, 0.2 * step) for step in range(20)]
    assert set(play(build_curriculum(ADAPTIVE), rising)) == {2}, "the reward is not settled"
    assert play(build_curriculum(ADAPTIVE), [*rising[:6], *pressed])[-1] >= 3


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(-1, 1)), min_size=1, max_size=40),
    st.integers(0, 40),
    st.sampled_from(["adaptive", "staged", "linear", "fixed"]),
)
def test_a_resumed_curriculum_is_the_whole_one(seen: list[tuple[float, float]], cut: int, kind: str) -> None:
    """Its state goes through a file of the checkpoint."""
    cfg = replace(ADAPTIVE, kind=kind, max_reward_drift=0.8, window=3)
    whole = play(build_curriculum(cfg), seen)
    first = build_curriculum(cfg)
    before = play(first, seen[:cut])
    resumed = build_curriculum(cfg)
    resumed.load(json.loads(json.dumps(first.state())))
    assert before + play(resumed, seen[cut:], min(cut, len(seen))) == whole
