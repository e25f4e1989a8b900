"""The loop of a rollout: finished generations go to the sandbox, finished executions to the engine.

One scheduler serves training and evaluation, and every engine. With a streaming engine, generation
and execution overlap; with a batch-synchronous one, every turn waits for its executions.
"""

from __future__ import annotations

import itertools
import queue
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from src.config import RolloutConfig
from src.formats.fences import code_spans, fills_output
from src.policy.codec import TokenCodec
from src.rewards.answers import extract_answer
from src.rollout.boundary import Cut, Scanner
from src.rollout.engines import Engine, Finish, Generation, Request
from src.rollout.feedback import feedback, notice
from src.rollout.meter import Meter
from src.rollout.stopping import build_stopping
from src.rollout.streams import derive_seed
from src.rollout.trajectory import Author, Execution, Segment, StopReason, Task, Trajectory
from src.sandbox import ExecutionResult, Sandbox, Status

_numbers = itertools.count()  # one sandbox may serve several rollouts


@dataclass(slots=True)
class _Live:
    """A trajectory on its way."""

    trajectory: Trajectory
    context: list[int]
    scanner: Scanner
    left: int  # completion tokens that still fit
    noticed: bool = False
    turn_began: float = 0.0
    requests: int = 0  # to the engine, so far
    running: Future[ExecutionResult] | None = None
    name: str = field(default_factory=lambda: f"trajectory-{next(_numbers)}")  # what the sandbox knows it by


@dataclass(frozen=True, slots=True)
class _Executed:
    """A finished execution and whose it is."""

    id: int
    cut: Cut
    future: Future[ExecutionResult]


class RolloutScheduler:
    """Makes trajectories of tasks.

    Args:
        engine: samples tokens.
        sandbox: runs code blocks; may be None when ``cfg.tools`` is false.
        codec: bytes and text of token ids.
        cfg: limits and options.

    Attributes:
        meter: numbers of the rollout under way, or of the last one.

    Raises:
        ValueError: tools are on and there is no sandbox.
    """

    def __init__(
        self, engine: Engine, sandbox: Sandbox | None, codec: TokenCodec, cfg: RolloutConfig
    ) -> None:
        if cfg.tools and sandbox is None:
            raise ValueError(
                "rollout.tools is true but there is no sandbox; set rollout.tools=false or give one"
            )
        self._engine, self._sandbox, self._codec, self._cfg = engine, sandbox, codec, cfg
        self._stopping = build_stopping(cfg.boundary, codec)
        self._tasks: Iterator[tuple[int, Task]] = iter(())
        self._live: dict[int, _Live] = {}
        self._running = 0
        # finished executions, and None where a background engine has finished something
        self._events: queue.SimpleQueue[_Executed | None] = queue.SimpleQueue()
        self.meter = Meter()

    def run(self, tasks: Sequence[Task]) -> list[Trajectory]:
        """Return one trajectory per task, in the order of the tasks. Raises: see :meth:`stream`."""
        trajectories = dict(self.stream(tasks))
        return [trajectories[index] for index in range(len(tasks))]

    def stream(self, tasks: Iterable[Task]) -> Iterator[tuple[int, Trajectory]]:
        """Yield the index and the trajectory of each task as soon as it is finished.

        At most ``cfg.max_live`` are on their way at once; nothing is kept of those that were yielded.
        Closing the iterator cancels the rollout.

        Raises:
            EngineError: sampling failed for good; what was yielded before is whole.
            SandboxError: the sandbox is closed.
        """
        self.meter = Meter()
        events = self._events = queue.SimpleQueue()  # nothing of a cancelled rollout arrives in this one
        self._tasks = iter(enumerate(tasks))
        try:
            self._engine.start(lambda: events.put(None))
            self._admit()
            while self._live:
                for index in self._turn():
                    live = self._live.pop(index)
                    self._forget(live)
                    self.meter.finished += 1
                    yield index, live.trajectory
                self._admit()
        finally:
            self._engine.stop()
            for live in self._live.values():
                self._cancel(live)
                self._forget(live)
            self._live.clear()
            self._running = 0
            self.meter.end()

    def _admit(self) -> None:
        """Begin further trajectories while there is room."""
        while len(self._live) < self._cfg.max_live:
            index, task = next(self._tasks, (None, None))
            if index is None or task is None:
                break
            live = _Live(
                Trajectory(task), list(task.prompt_ids), self._stopping.scanner(), self._cfg.max_tokens
            )
            self._live[index] = live
            self._request(index, live)
        self.meter.live = len(self._live)

    def _turn(self) -> list[int]:
        """Advance whatever can advance; return the indices of the trajectories that ended."""
        engine, limit = self._engine, self._cfg.max_seconds
        left = None if limit is None else limit - self.meter.elapsed
        if left is not None and left <= 0:
            return self._end_stragglers()
        # A batch-synchronous engine waits for all programs, so that it samples for all at once.
        polls = engine.pending > 0 and not engine.background and (engine.streaming or not self._running)
        sampling = engine.pending if polls or engine.background else 0
        began = time.monotonic()
        if polls:
            generations = engine.poll(None if left is None else began + left)
            events = self._drain(block=False, timeout=0.0)
        else:
            events = self._drain(block=True, timeout=left)
            generations = engine.poll() if engine.background else []
        self.meter.waited(time.monotonic() - began, sampling)
        ended = [generation.id for generation in generations if self._sampled(generation)]
        return ended + [executed.id for executed in events if self._executed(executed)]

    def _drain(self, *, block: bool, timeout: float | None) -> list[_Executed]:
        """Return the executions that have finished; with ``block`` at least one event is waited for.

        A batch-synchronous engine has use for them only once all have.
        """
        until = None if timeout is None else time.monotonic() + timeout
        executed: list[_Executed] = []
        wanted = 1 if self._engine.streaming else self._running
        while True:
            try:
                left = None if until is None else max(0.0, until - time.monotonic())
                event = self._events.get(block=block and wanted > 0, timeout=left)
            except queue.Empty:
                return executed
            wanted -= 1
            if event is not None:
                executed.append(event)

    def _end_stragglers(self) -> list[int]:
        """The time is up: end what is live, with what it has sampled."""
        for generation in self._engine.abort():
            live = self._live[generation.id]
            token_ids, logprobs = generation.token_ids, generation.logprobs
            cut = self._stopping.cut(live.scanner, token_ids) if self._stops(live) else None
            self._keep(live, token_ids, logprobs, len(token_ids) if cut is None else cut.kept)
        for live in self._live.values():
            self._cancel(live)
            live.trajectory.straggler = True
            self._end(live, StopReason.LENGTH)
        self._running = 0
        self._events = queue.SimpleQueue()
        self.meter.stragglers += len(self._live)
        return list(self._live)

    def _cancel(self, live: _Live) -> None:
        if live.running is not None:
            assert self._sandbox is not None
            self._sandbox.cancel(live.running)

    def _forget(self, live: _Live) -> None:
        """The sandbox need no longer keep what the trajectory's programs left behind."""
        if self._sandbox is not None and (live.trajectory.executions or live.running):
            self._sandbox.end(live.name)

    def _request(self, index: int, live: _Live) -> None:
        """Ask the engine to continue."""
        watch = self._stopping.watch(live.scanner) if self._stops(live) else None
        live.turn_began = time.monotonic()
        own = live.trajectory.task.seed
        seed = None if own is None else derive_seed(own, live.requests)
        live.requests += 1
        self._engine.submit(Request(index, live.context, live.left, watch, seed))

    def _stops(self, live: _Live) -> bool:
        """Whether a further code block is of interest."""
        if not self._cfg.tools:
            return False
        if len(live.trajectory.executions) < live.trajectory.task.budget:
            return True
        return self._cfg.over_budget == "stop" or (self._cfg.over_budget == "notice" and not live.noticed)

    def _sampled(self, generation: Generation) -> bool:
        """Take in sampled tokens; return whether the trajectory ended."""
        live = self._live[generation.id]
        token_ids = generation.token_ids
        cut = self._stopping.cut(live.scanner, token_ids) if self._stops(live) else None
        self._keep(live, token_ids, generation.logprobs, len(token_ids) if cut is None else cut.kept)
        if cut is not None:
            return self._at_boundary(generation.id, live, cut)
        if token_ids and token_ids[-1] in self._codec.eos_ids:
            return self._end(live, self._conclusion(live))
        if generation.finish is Finish.LENGTH or live.left <= 0:
            return self._end(live, StopReason.LENGTH)
        # The engine stopped at something that ends no Python block: go on at once.
        self._request(generation.id, live)
        return False

    def _keep(self, live: _Live, token_ids: list[int], logprobs: list[float] | None, kept: int) -> None:
        """Append the sampled tokens that survive, and count the others."""
        self.meter.sampled += len(token_ids)
        last = live.trajectory.segments[-1:]
        earlier = last[0].token_ids if last and last[0].author is Author.POLICY else []
        live.trajectory.invented |= fills_output(self._codec.text([*earlier, *token_ids]))
        live.trajectory.dropped_tokens += len(token_ids) - kept
        self._append(live, Author.POLICY, token_ids[:kept], logprobs[:kept] if logprobs is not None else None)

    def _at_boundary(self, index: int, live: _Live, cut: Cut) -> bool:
        trajectory = live.trajectory
        over = len(trajectory.executions) >= trajectory.task.budget
        if cut.injected:
            self._append(live, Author.SANDBOX, self._codec.encode_bytes(cut.injected)[: live.left])
        if over and self._cfg.over_budget == "stop":
            return self._end(live, StopReason.BUDGET)
        if live.left <= 0:
            return self._end(live, StopReason.LENGTH)
        if over:
            live.noticed = True
            return self._say(index, live, notice(cut))
        assert self._sandbox is not None
        live.running = self._sandbox.submit(cut.code, trajectory=live.name)
        self._running += 1
        events, executed = self._events, _Executed(index, cut, live.running)
        live.running.add_done_callback(lambda _: events.put(executed))
        return False

    def _executed(self, executed: _Executed) -> bool:
        """Take in a finished execution; return whether the trajectory ended."""
        live = self._live[executed.id]
        live.running = None
        self._running -= 1
        self.meter.executions += 1
        result = executed.future.result()
        live.trajectory.executions.append(Execution(executed.cut.code, result))
        if result.status is Status.INFRASTRUCTURE:
            return self._end(live, StopReason.INFRASTRUCTURE)
        said = feedback(result, self._cfg.feedback_chars, executed.cut, self._cfg.errors)
        return self._say(executed.id, live, said)

    def _say(self, index: int, live: _Live, text: str) -> bool:
        """Put sandbox text into the context and go on; return whether the trajectory ended."""
        # Feedback that does not fit is cut: it carries no loss, and the trajectory ends here.
        self._append(live, Author.SANDBOX, self._codec.encode(text)[: live.left])
        live.scanner = self._stopping.scanner()
        if live.left <= 0:
            return self._end(live, StopReason.LENGTH)
        self.meter.turns.append(time.monotonic() - live.turn_began)
        self._request(index, live)
        return False

    def _append(
        self, live: _Live, author: Author, token_ids: list[int], logprobs: list[float] | None = None
    ) -> None:
        """Put tokens at the end of the trajectory; neighbours by one author are one segment."""
        segments = live.trajectory.segments
        if segments and segments[-1].author is author:
            last = segments[-1]
            last.token_ids += token_ids
            if last.logprobs is not None and logprobs is not None:
                last.logprobs += logprobs
            last.text = self._codec.text(last.token_ids)
        elif token_ids or author is Author.SANDBOX:
            segments.append(Segment(author, list(token_ids), self._codec.text(token_ids), logprobs))
        live.context += token_ids
        live.left -= len(token_ids)

    def _conclusion(self, live: _Live) -> StopReason:
        """What a text that the policy itself has ended comes to."""
        last = live.trajectory.segments[-1].text
        if extract_answer([last]) is None and not code_spans(last):
            return StopReason.VOID
        answer = extract_answer(live.trajectory.policy_texts)
        return StopReason.NO_ANSWER if answer is None else StopReason.ANSWERED

    def _end(self, live: _Live, reason: StopReason) -> bool:
        if not live.trajectory.segments:  # its time was up before its first token
            self._append(live, Author.SANDBOX, [min(self._codec.eos_ids, default=self._codec.pad_id)])
        self.meter.turns.append(time.monotonic() - live.turn_began)
        live.trajectory.stop_reason = reason
        return True
