"""From problems to graded trajectories: prompts, rollout, grading, records."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from src.config import RewardConfig, RolloutConfig
from src.problems import Problem
from src.problems.prompts import build_prompt
from src.records import ExecutionRecord, SegmentRecord, TrajectoryRecord
from src.rewards import Grader, Outcome, compose, extract_answer
from src.rollout.engines import Engine
from src.rollout.scheduler import RolloutScheduler
from src.rollout.tokens import TokenCodec
from src.rollout.trajectory import StopReason, Task, Trajectory
from src.sandbox import Sandbox


class PromptError(ValueError):
    """A problem whose prompt does not fit."""


@dataclass(frozen=True)
class Collected:
    """Graded trajectories, in the order of what was asked; ``seconds``: where the time went.

    ``sandbox``: its numbers since it started (:meth:`Sandbox.stats`).
    """

    trajectories: list[Trajectory]
    records: list[TrajectoryRecord]
    seconds: dict[str, float]
    sandbox: dict[str, float]

    @property
    def rewards(self) -> list[float | None]:
        """Total rewards; None where the infrastructure failed."""
        return [record.rewards["total"] if record.rewards else None for record in self.records]


def encode_prompt(tokenizer: Any, problem: Problem, mode: str, style: str, limit: int) -> list[int]:
    """Return a problem's prompt ids.

    Raises:
        PromptError: there are more than ``limit``; a cut prompt would be another problem.
    """
    prompt = build_prompt(problem, mode, style)
    if isinstance(prompt, str):
        ids = tokenizer(prompt)["input_ids"]
    else:
        ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)
    if len(ids) > limit:
        raise PromptError(
            f"rollout.max_prompt_tokens is {limit}, but the prompt of problem {problem.id!r} has {len(ids)} "
            "tokens; raise the limit or take the problem out"
        )
    return list(ids)


class Collector:
    """Makes graded trajectories with one engine and one set of rollout settings."""

    def __init__(
        self,
        engine: Engine,
        sandbox: Sandbox,
        grader: Grader,
        codec: TokenCodec,
        rollout: RolloutConfig,
        reward: RewardConfig,
        prompt_style: str,
    ) -> None:
        self._codec, self._grader, self._sandbox = codec, grader, sandbox
        self._rollout, self._reward, self._style = rollout, reward, prompt_style
        self._scheduler = RolloutScheduler(engine, sandbox, codec, rollout)

    def prompt_ids(self, problem: Problem, mode: str) -> list[int]:
        """Prompt ids of a problem posed in ``mode``."""
        return encode_prompt(
            self._codec.tokenizer, problem, mode, self._style, self._rollout.max_prompt_tokens
        )

    def collect(
        self,
        asked: Sequence[tuple[Problem, int]],
        mode: str,
        budget: int,
        *,
        phase: str,
        step: int,
        attempt: int,
        on_finish: Callable[[int, Trajectory], None] | None = None,
    ) -> Collected:
        """Make one graded trajectory per ``(problem, sample index)``.

        Args:
            asked: what to make.
            mode: how the problems are posed.
            budget: most executions per trajectory.
            phase: for the records, as are ``step`` and ``attempt``.
            step: rollout step.
            attempt: how often the run was resumed.
            on_finish: see :meth:`RolloutScheduler.run`.
        """
        prompts = {problem.id: self.prompt_ids(problem, mode) for problem, _ in asked}
        tasks = [Task(problem, mode, sample, prompts[problem.id], budget) for problem, sample in asked]
        trajectories = self._scheduler.run(tasks, on_finish)
        start = time.perf_counter()
        answers = [extract_answer(trajectory.policy_texts) for trajectory in trajectories]
        grades = self._grader.grade(
            [(t.task.problem.answer, answer) for t, answer in zip(trajectories, answers, strict=True)]
        )
        records = []
        for trajectory, answer, grade in zip(trajectories, answers, grades, strict=True):
            rewards = None
            if trajectory.stop_reason is not StopReason.INFRASTRUCTURE:
                reward = compose(_outcome(trajectory, answer, grade.correct), self._reward)
                rewards = {**reward.terms, "total": reward.total}
            records.append(_record(trajectory, answer, grade.correct, rewards, phase, step, attempt))
        seconds = {**asdict(self._scheduler.seconds), "grading": time.perf_counter() - start}
        return Collected(trajectories, records, seconds, self._sandbox.stats())


def _outcome(trajectory: Trajectory, answer: str | None, correct: bool) -> Outcome:
    return Outcome(
        correct=correct,
        answer=answer,
        policy_texts=tuple(trajectory.policy_texts),
        statuses=tuple(str(execution.result.status) for execution in trajectory.executions),
        stop_reason=str(trajectory.stop_reason),
    )


def _record(
    trajectory: Trajectory,
    answer: str | None,
    correct: bool,
    rewards: dict[str, float] | None,
    phase: str,
    step: int,
    attempt: int,
) -> TrajectoryRecord:
    task, problem = trajectory.task, trajectory.task.problem
    return TrajectoryRecord(
        phase=phase,
        mode=task.mode,
        step=step,
        attempt=attempt,
        sample=task.sample,
        problem_id=problem.id,
        problem=problem.text,
        gold=problem.answer,
        subject=problem.subject,
        level=problem.level,
        source=problem.source,
        budget=task.budget,
        prompt_tokens=len(task.prompt_ids),
        segments=[SegmentRecord(str(s.author), s.text, len(s.token_ids)) for s in trajectory.segments],
        executions=[
            ExecutionRecord(str(e.result.status), e.result.seconds, e.result.error)
            for e in trajectory.executions
        ],
        stop_reason=str(trajectory.stop_reason),
        dropped_tokens=trajectory.dropped_tokens,
        answer=answer,
        correct=correct,
        rewards=rewards,
    )
