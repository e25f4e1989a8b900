"""The loop of a rollout: finished generations go to the sandbox, finished executions to the engine.

One scheduler serves training and evaluation, and every engine. With a streaming engine, generation
and execution overlap; with a batch-synchronous one, every turn waits for its executions.
"""

from __future__ import annotations

import itertools
import queue
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from src.config import RolloutConfig
from src.fences import code_spans
from src.rewards.answers import extract_answer
from src.rollout.boundary import BoundaryWatch, Cut, FenceScanner, find_boundary
from src.rollout.engines import Engine, Finish, Generation, Request
from src.rollout.feedback import feedback, notice
from src.rollout.tokens import TokenCodec
from src.rollout.trajectory import Author, Execution, Segment, StopReason, Task, Trajectory
from src.sandbox import ExecutionResult, Sandbox, Status

_numbers = itertools.count()  # one sandbox may serve several rollouts


@dataclass
class RolloutSeconds:
    """Wall seconds of one rollout: sampling, and waiting for programs with no sampling to do."""

    generation: float = 0.0
    execution: float = 0.0


@dataclass
class _Live:
    """A trajectory on its way."""

    trajectory: Trajectory
    context: list[int]
    scanner: FenceScanner = field(default_factory=FenceScanner)
    left: int = 0  # completion tokens that still fit
    noticed: bool = False
    name: str = field(default_factory=lambda: f"trajectory-{next(_numbers)}")  # what the sandbox knows it by


@dataclass(frozen=True)
class _Executed:
    """A finished execution and whose it is."""

    id: int
    code: str
    after_newline: bool
    future: Future[ExecutionResult]


class RolloutScheduler:
    """Makes trajectories of tasks.

    Args:
        engine: samples tokens.
        sandbox: runs code blocks; may be None when ``cfg.tools`` is false.
        codec: bytes and text of token ids.
        cfg: limits and options.

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
        self._live: dict[int, _Live] = {}
        self._finished: queue.SimpleQueue[_Executed] = queue.SimpleQueue()
        self._running: set[Future[ExecutionResult]] = set()
        self.seconds = RolloutSeconds()

    def run(
        self, tasks: Sequence[Task], on_finish: Callable[[int, Trajectory], None] | None = None
    ) -> list[Trajectory]:
        """Return one trajectory per task, in the order of the tasks.

        Args:
            tasks: what to make.
            on_finish: called with a task's index and its trajectory as soon as that is finished.
        """
        self.seconds = RolloutSeconds()
        self._finished = queue.SimpleQueue()  # executions of a cancelled rollout must not arrive in this one
        trajectories = [Trajectory(task) for task in tasks]
        for index, trajectory in enumerate(trajectories):
            live = _Live(trajectory, list(trajectory.task.prompt_ids), left=self._cfg.max_tokens)
            self._live[index] = live
            self._request(index, live)
        try:
            while self._live:
                ended = self._turn()
                if on_finish is not None:
                    for index in ended:
                        on_finish(index, trajectories[index])
        finally:
            self._engine.reset()
            for future in self._running:
                assert self._sandbox is not None
                self._sandbox.cancel(future)
            self._running.clear()
            for live in self._live.values():
                self._forget(live)
            self._live.clear()
        return trajectories

    def _turn(self) -> list[int]:
        """Advance whatever can advance; return the indices of the trajectories that ended."""
        ended = []
        # A batch-synchronous engine waits for all programs, so that it samples for all at once.
        if self._engine.pending and (self._engine.streaming or not self._running):
            start = time.perf_counter()
            generations = self._engine.poll()
            self.seconds.generation += time.perf_counter() - start
            for generation in generations:
                if self._sampled(generation):
                    ended.append(generation.id)
        block = bool(self._running) and not (self._engine.streaming and self._engine.pending)
        start = time.perf_counter()
        while self._running and (block or not self._finished.empty()):
            executed = self._finished.get()
            block = not self._engine.streaming
            self._running.discard(executed.future)
            if self._executed(executed):
                ended.append(executed.id)
        self.seconds.execution += time.perf_counter() - start
        for index in ended:
            self._forget(self._live.pop(index))
        return ended

    def _forget(self, live: _Live) -> None:
        """The sandbox need no longer keep what the trajectory's programs left behind."""
        if self._sandbox is not None and live.trajectory.executions:
            self._sandbox.end(live.name)

    def _request(self, index: int, live: _Live) -> None:
        """Ask the engine to continue."""
        watch = None
        if self._stops_at_fences(live):
            watch = BoundaryWatch(live.scanner, self._codec)
        self._engine.submit(Request(index, live.context, live.left, watch))

    def _stops_at_fences(self, live: _Live) -> bool:
        if not self._cfg.tools:
            return False
        if len(live.trajectory.executions) < live.trajectory.task.budget:
            return True
        return self._cfg.over_budget == "stop" or (self._cfg.over_budget == "notice" and not live.noticed)

    def _sampled(self, generation: Generation) -> bool:
        """Take in sampled tokens; return whether the trajectory ended."""
        live = self._live[generation.id]
        token_ids, logprobs = generation.token_ids, generation.logprobs
        cut = None
        if self._stops_at_fences(live):
            cut = find_boundary(live.scanner, token_ids, self._codec)
        kept = len(token_ids) if cut is None else cut.kept
        self._append_policy(live, token_ids[:kept], logprobs[:kept] if logprobs is not None else None)
        if cut is not None:
            return self._at_boundary(generation.id, live, cut)
        if token_ids and token_ids[-1] in self._codec.eos_ids:
            return self._end(live, StopReason.ANSWERED if self._concludes(live) else StopReason.VOID)
        if generation.finish is Finish.LENGTH or live.left <= 0:
            return self._end(live, StopReason.LENGTH)
        # The engine stopped at something that ends no Python block: go on at once.
        self._request(generation.id, live)
        return False

    def _at_boundary(self, index: int, live: _Live, cut: Cut) -> bool:
        trajectory = live.trajectory
        trajectory.dropped_tokens += cut.dropped
        over = len(trajectory.executions) >= trajectory.task.budget
        if cut.injected:
            self._append_sandbox(live, self._codec.encode_bytes(cut.injected)[: live.left])
        if over and self._cfg.over_budget == "stop":
            return self._end(live, StopReason.BUDGET)
        if live.left <= 0:
            return self._end(live, StopReason.LENGTH)
        if over:
            live.noticed = True
            return self._say(index, live, notice(after_newline=cut.after_newline))
        assert self._sandbox is not None
        future = self._sandbox.submit(cut.code, trajectory=live.name)
        self._running.add(future)
        finished = self._finished
        executed = _Executed(index, cut.code, cut.after_newline, future)
        future.add_done_callback(lambda _: finished.put(executed))
        return False

    def _executed(self, executed: _Executed) -> bool:
        """Take in a finished execution; return whether the trajectory ended."""
        live = self._live[executed.id]
        result = executed.future.result()
        live.trajectory.executions.append(Execution(executed.code, result))
        if result.status is Status.INFRASTRUCTURE:
            return self._end(live, StopReason.INFRASTRUCTURE)
        said = feedback(result, self._cfg.feedback_chars, after_newline=executed.after_newline)
        return self._say(executed.id, live, said)

    def _say(self, index: int, live: _Live, text: str) -> bool:
        """Put sandbox text into the context and go on; return whether the trajectory ended."""
        # Feedback that does not fit is cut: it carries no loss, and the trajectory ends here.
        self._append_sandbox(live, self._codec.encode(text)[: live.left])
        live.scanner = FenceScanner()
        if live.left <= 0:
            return self._end(live, StopReason.LENGTH)
        self._request(index, live)
        return False

    def _append_policy(self, live: _Live, token_ids: list[int], logprobs: list[float] | None) -> None:
        segments = live.trajectory.segments
        if segments and segments[-1].author is Author.POLICY:
            last = segments[-1]
            last.token_ids += token_ids
            if last.logprobs is not None and logprobs is not None:
                last.logprobs += logprobs
            last.text = self._codec.text(last.token_ids)
        elif token_ids:
            segments.append(Segment(Author.POLICY, list(token_ids), self._codec.text(token_ids), logprobs))
        live.context += token_ids
        live.left -= len(token_ids)

    def _append_sandbox(self, live: _Live, token_ids: list[int]) -> None:
        segments = live.trajectory.segments
        if segments and segments[-1].author is Author.SANDBOX:
            segments[-1].token_ids += token_ids
            segments[-1].text = self._codec.text(segments[-1].token_ids)
        else:
            segments.append(Segment(Author.SANDBOX, list(token_ids), self._codec.text(token_ids)))
        live.context += token_ids
        live.left -= len(token_ids)

    def _concludes(self, live: _Live) -> bool:
        """Whether the last segment holds an answer or a code block."""
        last = live.trajectory.segments[-1].text
        return extract_answer([last]) is not None or bool(code_spans(last))

    def _end(self, live: _Live, reason: StopReason) -> bool:
        live.trajectory.stop_reason = reason
        return True
