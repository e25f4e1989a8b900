"""Groups that teach nothing make room for others; batches stay whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from src.problems import Problem
from src.rollout.collector import Collected
from src.rollout.trajectory import Task, Trajectory
from src.run.processes import Ranks
from src.run.records import TrajectoryRecord
from src.trainer.dynamic_sampling import Samples, resample_uniform_groups, teaches
from tests.fakes import problem

PROBLEMS = [problem(name=f"p{i}") for i in range(12)]
SAMPLES = 2


def record(one: Problem, sample: int, reward: float | None) -> TrajectoryRecord:
    return TrajectoryRecord(
        phase="train", mode="free", step=0, attempt=0, sample=sample, problem_id=one.id, problem=one.text,
        gold="1", subject=None, level=None, source="fake", budget=1, prompt_tokens=1, segments=[],
        executions=[], stop_reason="answered", dropped_tokens=0, answer=None, correct=False,
        rewards=None if reward is None else {"total": reward},
    )  # fmt: skip


def collector(teaching: set[str], calls: list[Samples]) -> Callable[[Samples], Collected]:
    """Groups of the problems in ``teaching`` have different rewards, others equal ones."""

    def collect(asked: Samples) -> Collected:
        calls.append(asked)
        rewards = [float(sample if one.id in teaching else 0) for one, sample in asked]
        return Collected(
            [Trajectory(Task(one, "free", sample, [1], 1)) for one, sample in asked],
            [record(one, sample, r) for (one, sample), r in zip(asked, rewards, strict=True)],
        )

    return collect


def asked(names: list[int]) -> Samples:
    return [(PROBLEMS[i], sample) for i in names for sample in range(SAMPLES)]


def test_a_group_teaches_if_rewards_that_count_differ() -> None:
    assert teaches([1.0, -1.0])
    assert not teaches([1.0, 1.0])
    assert not teaches([1.0, None])
    assert not teaches([None, None])


@given(st.sets(st.integers(0, 11)), st.integers(0, 5))
def test_the_batch_stays_whole_and_only_idle_groups_go(teaching: set[int], rounds: int) -> None:
    names = {f"p{i}" for i in teaching}
    calls: list[Samples] = []
    collect = collector(names, calls)
    first = collect(asked([0, 1, 2, 3]))
    filled, metrics = resample_uniform_groups(first, collect, PROBLEMS, SAMPLES, rounds, "0-0", Ranks())
    assert len(filled.records) == len(filled.trajectories) == 4 * SAMPLES
    groups = [filled.records[start : start + SAMPLES] for start in range(0, 8, SAMPLES)]
    assert all(len({r.problem_id for r in group}) == 1 for group in groups)
    assert all([r.sample for r in group] == [0, 1] for group in groups)
    assert [t.task.problem.id for t in filled.trajectories] == [r.problem_id for r in filled.records]
    for place, group in enumerate(groups):
        if f"p{place}" in names:
            assert group[0].problem_id == f"p{place}", "a group that teaches stays where it is"
    idle = [group for group in groups if group[0].problem_id not in names]
    assert len(calls) - 1 == metrics["dynamic_sampling/rounds"] <= rounds
    once = [one.id for call in calls for one, sample in call if sample == 0]
    assert len(once) == len(set(once)), "no problem is asked twice in a step"
    assert metrics["dynamic_sampling/frac_reward_zero_std"] == sum(f"p{i}" not in names for i in range(4)) / 4
    assert (
        len(idle) / 4
        == metrics["dynamic_sampling/frac_reward_zero_std"] - metrics["dynamic_sampling/frac_replaced"]
    )
    fresh = {one.id for call in calls[1:] for one, _ in call}
    assert metrics["dynamic_sampling/frac_replaced"] == len(fresh & names) / 4, "what teaches is taken"
    if idle:
        assert metrics["dynamic_sampling/rounds"] == rounds, "and as long as there are rounds more is asked"


def test_a_step_that_is_done_again_draws_the_same() -> None:
    def drawn(draw: str) -> list[Samples]:
        calls: list[Samples] = []
        collect = collector(set(), calls)
        resample_uniform_groups(collect(asked([0, 1])), collect, PROBLEMS, SAMPLES, 2, draw, Ranks())
        return calls

    assert drawn("0-7") == drawn("0-7")
    assert drawn("0-7") != drawn("0-8")


def test_nothing_left_to_ask_keeps_the_batch() -> None:
    calls: list[Samples] = []
    collect = collector(set(), calls)
    first = collect(asked([0, 1]))
    filled, _ = resample_uniform_groups(first, collect, PROBLEMS[:2], SAMPLES, 3, "0-0", Ranks())
    assert [r.problem_id for r in filled.records] == ["p0", "p0", "p1", "p1"]
    assert all(not call for call in calls[1:])


def test_who_was_lost_does_not_make_a_group_teach() -> None:
    collect = collector({"p5"}, [])
    first = collect(asked([5]))
    lost = Collected(first.trajectories, [replace(first.records[0], rewards=None), first.records[1]])
    _, metrics = resample_uniform_groups(lost, collect, PROBLEMS, SAMPLES, 0, "0-0", Ranks())
    assert metrics["dynamic_sampling/frac_reward_zero_std"] == 1
