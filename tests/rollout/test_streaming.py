"""The scheduler over time: overlap, limits, faults, cancelling."""

from __future__ import annotations

import gc
import queue
import threading
import time
import tracemalloc
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from src.config import RolloutConfig
from src.rollout.engines import EngineError, Finish, Generation, Request
from src.rollout.trajectory import StopReason, Task
from src.sandbox import ExecutionResult, SandboxError, Status
from tests.fakes import BPE, FakeSandbox, ScriptedEngine, problem, rollout_scheduler
from tests.rollout.test_scheduler import script

CONFIG = RolloutConfig(max_tokens=400)
(EOS,) = BPE.eos_ids


def text(index: int) -> str:
    return f"```python\nprint({index})\n```\\boxed{{{index}}}<|end|>"


def tasks(number: int, budget: int = 2) -> Iterator[Task]:
    for index in range(number):
        yield Task(problem(), "free", index, BPE.encode(f"Q{index}\n"), budget)


def scripted(number: int, **options: Any) -> ScriptedEngine:
    options = {"streaming": True, "per_poll": 1} | options
    return ScriptedEngine([script(text(i), BPE, []) for i in range(number)], EOS, **options)


def echo(code: str) -> ExecutionResult:
    return ExecutionResult(Status.OK, code.split("(")[1][:-2], None, 0.0)


class BackgroundEngine(ScriptedEngine):
    """Works in a thread of its own and notifies, as the client of a server does."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.streaming = self.background = True
        self._asked: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Generation] = queue.SimpleQueue()
        self._open = 0
        self._notify: Callable[[], None] = lambda: None
        threading.Thread(target=self._work, daemon=True).start()

    @property
    def pending(self) -> int:
        return self._open

    def start(self, notify: Callable[[], None]) -> None:
        self._notify = notify

    def submit(self, request: Request) -> None:
        self._open += 1
        self._asked.put(request)

    def poll(self, until: float | None = None) -> list[Generation]:
        found = []
        while not self._done.empty():
            found.append(self._done.get())
            self._open -= 1
        return found

    def stop(self) -> None:
        self._open = 0

    def _work(self) -> None:
        while True:
            request = self._asked.get()
            time.sleep(0.001)
            self._done.put(self._sample(request))
            self._notify()


@pytest.mark.parametrize("kind", [ScriptedEngine, BackgroundEngine])
def test_trajectories_come_as_they_finish_and_feedback_goes_to_its_own(kind: type[ScriptedEngine]) -> None:
    """The program of the first one takes long; nobody waits for it."""

    class Delaying(FakeSandbox):
        def submit(self, code: str, **options: Any) -> Any:
            self._delay = 1.5 if code == "print(0)\n" else 0.001
            return super().submit(code, **options)

    engine = kind([script(text(i), BPE, []) for i in range(20)], EOS, streaming=True, per_poll=1)
    scheduler = rollout_scheduler(engine, Delaying(echo), BPE, CONFIG)
    began = time.monotonic()
    finished = []
    for index, trajectory in scheduler.stream(tasks(20)):
        assert trajectory.segments[1].text == f"\n```output\n{index}\n```\n"
        finished.append(index)
        if len(finished) == 19:
            assert time.monotonic() - began < 1.2
    assert sorted(finished) == list(range(20))
    assert finished[-1] == 0
    assert scheduler.meter.idle > 0.2  # nothing to sample while it ran


def test_at_most_max_concurrent_are_under_way_and_tasks_are_taken_when_there_is_room() -> None:
    taken = [0]

    def lazily() -> Iterator[Task]:
        for task in tasks(50):
            taken[0] += 1
            yield task

    scheduler = rollout_scheduler(
        scripted(50), FakeSandbox(echo, delay=0.002), BPE, replace(CONFIG, max_concurrent=7)
    )
    finished = 0
    for _ in scheduler.stream(lazily()):
        finished += 1
        assert taken[0] <= finished + 7
        assert scheduler.meter.live <= 7
    assert finished == taken[0] == 50


@pytest.mark.parametrize("streaming", [True, False])
def test_times_of_segments(streaming: bool) -> None:
    """Sampling from the request on; feedback from the call on, which is more than the execution."""

    class Late(ScriptedEngine):
        def poll(self, until: float | None = None) -> list[Generation]:
            time.sleep(0.02)
            return super().poll(until)

    began = time.monotonic()
    engine = Late([script(text(index), BPE, []) for index in range(3)], EOS, streaming=streaming)
    scheduler = rollout_scheduler(engine, FakeSandbox(echo, delay=0.2), BPE, CONFIG)
    for trajectory in scheduler.run(list(tasks(3))):
        assert [segment.author for segment in trajectory.segments] == ["policy", "tool", "policy"]
        sampled, called, answered = (segment.seconds for segment in trajectory.segments)
        assert called >= 0.2
        assert min(sampled, answered) >= 0.02
        assert sampled + called + answered <= time.monotonic() - began


@pytest.mark.long
def test_nothing_is_kept_of_what_was_yielded() -> None:
    """Prompts of very different length: memory goes with what is live."""
    scheduler = rollout_scheduler(scripted(12), FakeSandbox(echo), BPE, replace(CONFIG, max_concurrent=3))
    seen: list[weakref.ref[Any]] = []
    for _, trajectory in scheduler.stream(
        Task(problem(), "free", i, BPE.encode("Q" * (1 + 400 * (i % 3))), 2) for i in range(12)
    ):
        seen.append(weakref.ref(trajectory.task.problem))
        del trajectory
        gc.collect()
        assert sum(one() is not None for one in seen) <= 4


@pytest.mark.parametrize("streaming", [False, True])
def test_time_that_is_up_ends_what_is_live_as_length(streaming: bool) -> None:
    """Programs that hang are given back, and what came after is not sampled."""
    cancelled = []

    class Hanging(FakeSandbox):
        def cancel(self, future: Any) -> None:
            cancelled.append(future)
            super().cancel(future)

    engine = scripted(8, streaming=streaming, per_poll=8)
    scheduler = rollout_scheduler(engine, Hanging(echo, delay=60), BPE, replace(CONFIG, max_seconds=0.2))
    trajectories = scheduler.run(list(tasks(8)))
    assert [t.stop_reason for t in trajectories] == [StopReason.LENGTH] * 8
    assert [len(t.executions) for t in trajectories] == [0] * 8
    assert all(t.completion_ids and t.mask == [1] * len(t.mask) for t in trajectories)
    assert scheduler.meter.stragglers == 8
    assert all(t.straggler for t in trajectories)
    assert len(cancelled) == 8
    assert scheduler.meter.elapsed < 2


def test_time_that_is_up_before_the_first_token_leaves_a_trajectory_that_counts_nothing() -> None:
    """TRL takes no empty completion; what fills it is masked."""

    class Stuck(ScriptedEngine):
        def poll(self, until: float | None = None) -> list[Generation]:
            assert until is not None
            time.sleep(max(0.0, until - time.monotonic()))
            return []

    scheduler = rollout_scheduler(Stuck([[]], EOS), FakeSandbox(), BPE, replace(CONFIG, max_seconds=0.05))
    (trajectory,) = scheduler.run(list(tasks(1)))
    assert trajectory.mask == [0]
    assert trajectory.stop_reason is StopReason.LENGTH


class Failing(ScriptedEngine):
    """Fails at its tenth poll."""

    polls = 0

    def poll(self, until: float | None = None) -> list[Generation]:
        self.polls += 1
        if self.polls == 10:
            raise EngineError("out of memory")
        return super().poll(until)


@pytest.mark.parametrize("fault", ["engine", "sandbox", "caller"])
def test_whatever_ends_a_rollout_leaves_nothing_running(fault: str) -> None:
    ended, cancelled = [], []

    class Ending(FakeSandbox):
        def submit(self, code: str, **options: Any) -> Any:
            if fault == "sandbox" and len(self.ran) == 9:
                raise SandboxError("the sandbox is closed")
            return super().submit(code, **options)

        def end(self, trajectory: str) -> None:
            ended.append(trajectory)

        def cancel(self, future: Any) -> None:
            cancelled.append(future)
            super().cancel(future)

    kind = Failing if fault == "engine" else ScriptedEngine
    engine = kind([script(text(i), BPE, []) for i in range(20)], EOS, streaming=True, per_poll=1)
    sandbox = Ending(echo, delay=0.02)
    scheduler = rollout_scheduler(engine, sandbox, BPE, replace(CONFIG, max_concurrent=4))
    stream, finished = scheduler.stream(tasks(20)), []
    if fault == "caller":
        finished.append(next(stream))
        stream.close()
    else:
        error = EngineError if fault == "engine" else SandboxError
        with pytest.raises(error):
            deque(map(finished.append, stream))
    assert engine.pending == 0
    assert len(set(ended)) == len(sandbox.ran)  # of each that ever ran a program
    assert all(trajectory.stop_reason is StopReason.ANSWERED for _, trajectory in finished)
    assert finished
    # the scheduler is as good as new
    again = scripted(5)
    scheduler = rollout_scheduler(again, FakeSandbox(echo), BPE, CONFIG)
    assert all(t.stop_reason is StopReason.ANSWERED for t in scheduler.run(list(tasks(5))))


def test_what_a_cancelled_rollout_left_under_way_does_not_reach_the_next() -> None:
    """Its programs end during the next rollout of the same scheduler, whose indices are the same."""
    texts = [script(text(i), BPE, []) for i in range(6)]
    engine = ScriptedEngine(texts, EOS, streaming=True, per_poll=1)
    sandbox = FakeSandbox(lambda code: ExecutionResult(Status.OK, "old", None, 0.0), delay=0.1)
    scheduler = rollout_scheduler(engine, sandbox, BPE, CONFIG)
    stream = scheduler.stream(tasks(6))
    next(stream)
    stream.close()
    engine._at = [0] * 6
    sandbox._reply = echo
    for index, trajectory in enumerate(scheduler.run(list(tasks(6)))):
        assert trajectory.segments[1].text == f"\n```output\n{index}\n```\n"


@pytest.mark.parametrize("finish", [Finish.STOP, Finish.LENGTH])
def test_an_engine_that_stops_at_nothing_is_asked_to_go_on(finish: Finish) -> None:
    """One token at a time; at the limit it is over."""

    class Halting(ScriptedEngine):
        def _sample(self, request: Request) -> Generation:
            one = super()._sample(replace(request, max_tokens=1))
            return replace(one, finish=finish if one.token_ids[-1] != EOS else Finish.STOP)

    engine = Halting([script(text(0), BPE, [])], EOS)
    (trajectory,) = rollout_scheduler(engine, FakeSandbox(echo), BPE, CONFIG).run(list(tasks(1)))
    if finish is Finish.LENGTH:
        assert trajectory.stop_reason is StopReason.LENGTH
        assert len(trajectory.completion_ids) == 1
    else:
        assert trajectory.stop_reason is StopReason.ANSWERED
        assert len(trajectory.executions) == 1


class LongWinded(ScriptedEngine):
    """Ten programs behind some 1,000 tokens each, then the end, in every trajectory."""

    def __init__(self) -> None:
        super().__init__([], EOS, streaming=True, per_poll=1)
        self._turns: Counter[int] = Counter()

    def _sample(self, request: Request) -> Generation:
        self._turns[request.id] += 1
        block = BPE.encode("\n```python\nprint(1)\n```") if self._turns[request.id] <= 10 else [EOS]
        return Generation(request.id, BPE.encode("so ") * 333 + block, None, Finish.STOP)


def test_memory_goes_with_what_is_live_however_long_and_many() -> None:
    """10,000 tokens in ten executions, prompts of 1 and of 2,000 tokens: four times as many take no more."""

    def peak(number: int) -> int:
        cfg = RolloutConfig(max_tokens=20_000, max_concurrent=4)
        scheduler = rollout_scheduler(LongWinded(), FakeSandbox(), BPE, cfg)
        prompts = (BPE.encode("Q") * (1 if i % 2 else 2000) for i in range(number))
        asked = (Task(problem(), "free", i, ids, 10) for i, ids in enumerate(prompts))
        tracemalloc.start()
        for _, trajectory in scheduler.stream(asked):
            assert len(trajectory.executions) == 10
            assert len(trajectory.completion_ids) > 10_000
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(4)  # what is made once
    assert peak(48) < 1.25 * peak(12)
