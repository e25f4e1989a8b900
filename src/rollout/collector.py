"""From problems to graded trajectories: prompts, rollout, grading, records."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, replace

from src.problems import Problem
from src.rewards import Grade, GraderError, Outcome, compose, extract_answer, last_expression
from src.rewards.compose import own_terms
from src.rollout.engines import Engine
from src.rollout.environment import Environment
from src.rollout.meter import Meter
from src.rollout.scheduler import RolloutScheduler
from src.rollout.streams import derive_seed
from src.rollout.trajectory import Execution, StopReason, Task, Trajectory
from src.run.records import ExecutionRecord, Occasion, RecordWriter, SegmentRecord, TrajectoryRecord

_WRITE_SECONDS = 1.0  # most seconds until a finished trajectory is written


class PromptError(ValueError):
    """A prompt is longer than the limit."""


@dataclass(frozen=True)
class Graded:
    """A finished trajectory; ``index`` is its position among the requested samples."""

    index: int
    trajectory: Trajectory
    record: TrajectoryRecord


@dataclass(frozen=True)
class Collected:
    """Graded trajectories, in the order of the requested samples."""

    trajectories: list[Trajectory]
    records: list[TrajectoryRecord]

    @property
    def rewards(self) -> list[float | None]:
        """Total rewards; None for trajectories lost to infrastructure failures."""
        return [record.rewards["total"] if record.rewards else None for record in self.records]


class Collector:
    """Collects graded trajectories with one engine in one environment.

    Args:
        engine: samples tokens.
        environment: prompts, tools, limits, grading and rewards.
        writer: records every trajectory; None: nothing is recorded.
    """

    def __init__(self, engine: Engine, environment: Environment, writer: RecordWriter | None = None) -> None:
        self._environment, self._writer = environment, writer
        self._scheduler = RolloutScheduler(
            engine, environment.tools, environment.form, environment.codec, environment.rollout
        )
        self._own_terms = own_terms(environment.reward)
        self._grading = 0.0

    @property
    def meter(self) -> Meter:
        """Counts and timings of the current rollout, or of the last one."""
        return self._scheduler.meter

    def seconds(self) -> dict[str, float]:
        """Return the seconds that each phase of the last rollout took."""
        seconds = {**self.meter.seconds(), "grading": self._grading}
        return {f"seconds/{name}": value for name, value in seconds.items()}

    def metrics(self) -> dict[str, float]:
        """Return the timings of the last rollout and the metrics of engine and tools."""
        return {
            **self.seconds(),
            **{f"engine/{name}": value for name, value in self.meter.metrics().items()},
            **self._environment.tools.stats(),
        }

    def prompt_ids(self, problem: Problem, mode: str) -> list[int]:
        """Return the prompt ids of a problem in ``mode``.

        Raises:
            PromptError: the prompt is too long; a truncated prompt would be a different problem.
        """
        (ids,) = self._environment.prompts.ids([problem], mode)
        limit = self._environment.rollout.max_prompt_tokens
        if len(ids) > limit:
            raise PromptError(
                f"rollout.max_prompt_tokens is {limit}, but the prompt of problem {problem.id!r} has "
                f"{len(ids)} tokens; raise the limit or remove the problem"
            )
        return ids

    def collect(
        self,
        samples: Sequence[tuple[Problem, int]],
        mode: str,
        budget: int,
        occasion: Occasion,
        groups: Sequence[int] | None = None,
    ) -> Collected:
        """Return a graded trajectory per ``(problem, sample index)``; arguments: see :meth:`stream`."""
        stream = self.stream(samples, mode, budget, occasion, groups=groups)
        finished = sorted(stream, key=lambda graded: graded.index)
        return Collected([graded.trajectory for graded in finished], [graded.record for graded in finished])

    def stream(
        self,
        samples: Sequence[tuple[Problem, int]],
        mode: str,
        budget: int,
        occasion: Occasion,
        seed: int | None = None,
        groups: Sequence[int] | None = None,
    ) -> Iterator[Graded]:
        """Yield and record a graded trajectory per ``(problem, sample index)``, as they finish.

        If the rollout ends early for any reason, the trajectories finished by then are recorded.

        Args:
            samples: problems with sample indices.
            mode: free, text or code.
            budget: most executions per trajectory.
            occasion: for the records.
            seed: gives each trajectory its own random stream, derived from this seed, problem, mode and
                sample; None: all share the engine's stream.
            groups: number of each sample's group, for the records.

        Raises:
            PromptError: a prompt is too long; raised before anything is sampled.
            EngineError, SandboxError, GraderError: the engine, sandbox or grader has failed.
        """
        problems = {problem.id: problem for problem, _ in samples}
        prompts = {name: self.prompt_ids(problem, mode) for name, problem in problems.items()}

        def task(index: int, problem: Problem, sample: int) -> Task:
            stream = None if seed is None else derive_seed(seed, problem.id, mode, sample)
            group = None if groups is None else groups[index]
            return Task(problem, mode, sample, prompts[problem.id], budget, stream, group)

        tasks = (task(index, *asked) for index, asked in enumerate(samples))
        waiting: deque[_Answered] = deque()  # for their grades, in the order of finishing
        ready: list[Graded] = []
        written = time.monotonic()

        def settle() -> Iterator[Graded]:
            """Yield, in order, those whose grade has arrived, and queue their records."""
            while waiting and waiting[0].done():
                ready.append(self._graded(waiting.popleft(), occasion))
                yield ready[-1]

        def write() -> None:
            """Write the queued records in one batch, which waits for the disk only once."""
            if self._writer is not None:
                self._writer.write_records([graded.record for graded in ready])
            ready.clear()

        try:
            for index, trajectory in self._scheduler.stream(tasks):
                answer = extract_answer(trajectory.policy_texts, self._environment.form.spans)
                waiting.append(self._submitted(index, trajectory, answer))
                yield from settle()
                if time.monotonic() - written > _WRITE_SECONDS:
                    write()
                    written = time.monotonic()
            start = time.perf_counter()
            while waiting:
                waiting[0].wait()
                yield from settle()
            self._grading = time.perf_counter() - start
        finally:
            ready += [self._graded(answered, occasion) for answered in waiting if _succeeds(answered)]
            write()

    def _submitted(self, index: int, trajectory: Trajectory, answer: str | None) -> _Answered:
        """Have the answer graded, and the last expression if that is another one and wanted."""
        environment, gold = self._environment, trajectory.task.problem.answer
        grade = environment.grader.submit(gold, answer)
        lenient = None
        if environment.reward.lenient:
            last = last_expression(trajectory.policy_texts, environment.form.spans)
            lenient = grade if last in (None, answer) else environment.grader.submit(gold, last)
        return _Answered(index, trajectory, answer, grade, lenient)

    def _graded(self, answered: _Answered, occasion: Occasion) -> Graded:
        trajectory, answer = answered.trajectory, answered.answer
        environment = self._environment
        grade = answered.grade.result()
        correct, lenient = grade.correct, answered.lenient
        rewards = None
        if trajectory.stop_reason is not StopReason.INFRASTRUCTURE:
            outcome = _outcome(trajectory, answer, correct, environment.rollout.max_tokens)
            reward = compose(outcome, environment.reward, self._own_terms)
            rewards = {**reward.terms, "total": reward.total}
        record = replace(
            _record(trajectory, answer, correct, rewards, occasion, environment.prompt_style),
            prompt=environment.prompt_text(trajectory.task.prompt_ids),
            correct_lenient=None if lenient is None else (correct or lenient.result().correct),
            grading_failure=grade.failure,
        )
        return Graded(answered.index, trajectory, record)


@dataclass(frozen=True)
class _Answered:
    """A finished trajectory whose answer is being graded."""

    index: int
    trajectory: Trajectory
    answer: str | None
    grade: Future[Grade]
    lenient: Future[Grade] | None

    def done(self) -> bool:
        """Whether all grades have arrived."""
        return self.grade.done() and (self.lenient is None or self.lenient.done())

    def wait(self) -> None:
        """Wait for the grades. Raises: GraderError."""
        self.grade.result()
        if self.lenient is not None:
            self.lenient.result()


def _succeeds(answered: _Answered) -> bool:
    """Wait for the grades; return whether grading succeeded."""
    try:
        answered.wait()
    except (GraderError, CancelledError):
        return False
    return True


def _outcome(trajectory: Trajectory, answer: str | None, correct: bool, max_tokens: int) -> Outcome:
    return Outcome(
        correct=correct,
        answer=answer,
        problem=trajectory.task.problem,
        programs=tuple(execution.code for execution in trajectory.executions),
        outputs=tuple(execution.result.output for execution in trajectory.executions),
        policy_texts=tuple(trajectory.policy_texts),
        statuses=tuple(str(execution.result.status) for execution in trajectory.executions),
        stop_reason=str(trajectory.stop_reason),
        tokens=len(trajectory.completion_ids),
        max_tokens=max_tokens,
    )


def _execution(execution: Execution) -> ExecutionRecord:
    result = execution.result
    return ExecutionRecord(
        str(result.status), result.seconds, result.error, execution.call.tool, execution.code, result.stdout
    )


def _record(
    trajectory: Trajectory,
    answer: str | None,
    correct: bool,
    rewards: dict[str, float] | None,
    occasion: Occasion,
    style: str,
) -> TrajectoryRecord:
    task, problem = trajectory.task, trajectory.task.problem
    return TrajectoryRecord(
        **vars(occasion),
        mode=task.mode,
        sample=task.sample,
        problem_id=problem.id,
        problem=problem.text,
        gold=problem.answer,
        subject=problem.subject,
        level=problem.level,
        source=problem.source,
        budget=task.budget,
        prompt_tokens=len(task.prompt_ids),
        segments=[
            SegmentRecord(str(s.author), s.text, len(s.token_ids), s.tool, round(s.seconds, 6))
            for s in trajectory.segments
        ],
        executions=[_execution(one) for one in trajectory.executions],
        stop_reason=str(trajectory.stop_reason),
        dropped_tokens=trajectory.dropped_tokens,
        answer=answer,
        correct=correct,
        rewards=rewards,
        fabricated_output=trajectory.fabricated_output,
        seed=task.seed,
        straggler=trajectory.straggler,
        prompt_style=style,
        group=task.group,
    )
