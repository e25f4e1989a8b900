"""The rollout loop: finished generations go to the tools, finished tool calls back to the engine.

One scheduler serves training and evaluation, and every engine. With a streaming engine, generation
and execution overlap; with a batch-synchronous one, every turn waits for its executions.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from src.config import RolloutConfig
from src.formats.base import Format, Piece
from src.policy.codec import TokenCodec
from src.rollout.boundary import Boundary
from src.rollout.boundary_rule import build_boundary_rule
from src.rollout.engines import Engine, Finish, Generation, Request
from src.rollout.in_flight import InFlight, conclusion
from src.rollout.meter import Meter
from src.rollout.observation import SPENT, message, observation
from src.rollout.streams import derive_seed
from src.rollout.trajectory import Author, Execution, StopReason, Task, Trajectory
from src.sandbox import Status
from src.tools.base import Call, CallError, Toolbox, ToolResult


@dataclass(frozen=True, slots=True)
class _Called:
    """A finished tool call, with the index of its trajectory and the time of the call."""

    id: int
    boundary: Boundary
    call: Call
    future: Future[ToolResult]
    began: float


class RolloutScheduler:
    """Samples a trajectory for each task.

    Args:
        engine: samples tokens.
        tools: the tools that the policy can call; may be None if ``cfg.tools`` is false.
        form: format of tool calls and results.
        codec: bytes and text of token ids.
        cfg: limits and options.

    Attributes:
        meter: counts and timings of the current rollout, or of the last one.

    Raises:
        ValueError: ``cfg.tools`` is true without ``tools``, or ``cfg.boundary`` does not suit the format.
    """

    def __init__(
        self, engine: Engine, tools: Toolbox | None, form: Format, codec: TokenCodec, cfg: RolloutConfig
    ) -> None:
        if cfg.tools and tools is None:
            raise ValueError("rollout.tools=true: there is no tool; set rollout.tools=false or configure one")
        self._engine, self._tools, self._format, self._codec, self._cfg = engine, tools, form, codec, cfg
        self._rule = build_boundary_rule(cfg.boundary, form, codec)
        self._tasks: Iterator[tuple[int, Task]] = iter(())
        self._live: dict[int, InFlight] = {}
        self._running = 0
        # finished tool calls, and None whenever a background engine has finished a request
        self._events: queue.SimpleQueue[_Called | None] = queue.SimpleQueue()
        self.meter = Meter()

    def run(self, tasks: Sequence[Task]) -> list[Trajectory]:
        """Return one trajectory per task, in the order of the tasks. Raises: see :meth:`stream`."""
        trajectories = dict(self.stream(tasks))
        return [trajectories[index] for index in range(len(tasks))]

    def stream(self, tasks: Iterable[Task]) -> Iterator[tuple[int, Trajectory]]:
        """Yield the index and the trajectory of each task as soon as it is finished.

        At most ``cfg.max_concurrent`` trajectories run at once; yielded ones are not kept in memory.
        Closing the iterator cancels the rollout.

        Raises:
            EngineError: sampling failed permanently; trajectories yielded before are complete.
            SandboxError: the sandbox has failed.
        """
        self.meter = Meter()
        events = self._events = queue.SimpleQueue()  # a cancelled rollout still writes to the old queue
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
        """Start further trajectories up to the limit."""
        while len(self._live) < self._cfg.max_concurrent:
            index, task = next(self._tasks, (None, None))
            if index is None or task is None:
                break
            live = InFlight(
                Trajectory(task), list(task.prompt_ids), self._rule.scanner(), self._cfg.max_tokens
            )
            self._live[index] = live
            self._request(index, live)
        self.meter.live = len(self._live)

    def _turn(self) -> list[int]:
        """Advance all trajectories that can advance; return the indices of those that ended."""
        engine, limit = self._engine, self._cfg.max_seconds
        remaining = None if limit is None else limit - self.meter.elapsed
        if remaining is not None and remaining <= 0:
            return self._end_stragglers()
        # A batch-synchronous engine waits for all programs and then samples for all trajectories at once.
        polls = engine.pending > 0 and not engine.background and (engine.streaming or not self._running)
        sampling = engine.pending if polls or engine.background else 0
        began = time.monotonic()
        if polls:
            generations = engine.poll(None if remaining is None else began + remaining)
            events = self._drain(block=False, timeout=0.0)
        else:
            events = self._drain(block=True, timeout=remaining)
            generations = engine.poll() if engine.background else []
        self.meter.waited(time.monotonic() - began, sampling)
        ended = [generation.id for generation in generations if self._sampled(generation)]
        return ended + [executed.id for executed in events if self._called(executed)]

    def _drain(self, *, block: bool, timeout: float | None) -> list[_Called]:
        """Return the finished tool calls; with ``block``, wait for at least one event.

        For a batch-synchronous engine, wait for all running calls.
        """
        until = None if timeout is None else time.monotonic() + timeout
        executed: list[_Called] = []
        wanted = 1 if self._engine.streaming else self._running
        while True:
            try:
                remaining = None if until is None else max(0.0, until - time.monotonic())
                event = self._events.get(block=block and wanted > 0, timeout=remaining)
            except queue.Empty:
                return executed
            wanted -= 1
            if event is not None:
                executed.append(event)

    def _end_stragglers(self) -> list[int]:
        """End all live trajectories at the time limit; they keep the tokens sampled so far."""
        for generation in self._engine.abort():
            live = self._live[generation.id]
            token_ids, logprobs = generation.token_ids, generation.logprobs
            boundary = self._rule.find(live.scanner, token_ids) if self._stops(live) else None
            self._keep(live, token_ids, logprobs, len(token_ids) if boundary is None else boundary.kept)
        for live in self._live.values():
            self._cancel(live)
            live.trajectory.straggler = True
            self._end(live, StopReason.LENGTH)
        self._running = 0
        self._events = queue.SimpleQueue()
        self.meter.stragglers += len(self._live)
        return list(self._live)

    def _cancel(self, live: InFlight) -> None:
        if live.running is not None:
            assert self._tools is not None
            self._tools.cancel(*live.running)

    def _forget(self, live: InFlight) -> None:
        """Let the tools release the state of the trajectory's calls."""
        if self._tools is not None and (live.trajectory.executions or live.running):
            self._tools.end(live.name)

    def _request(self, index: int, live: InFlight) -> None:
        """Submit the trajectory to the engine for its next tokens."""
        stop = self._rule.stop_condition(live.scanner) if self._stops(live) else None
        live.turn_began = time.monotonic()
        own = live.trajectory.task.seed
        seed = None if own is None else derive_seed(own, live.requests)
        live.requests += 1
        self._engine.submit(Request(index, live.context, live.remaining_tokens, stop, seed))

    def _stops(self, live: InFlight) -> bool:
        """Whether sampling must stop at a further tool call."""
        if not self._cfg.tools:
            return False
        if len(live.trajectory.executions) < live.trajectory.task.budget:
            return True
        return self._cfg.over_budget == "stop" or (self._cfg.over_budget == "notice" and not live.noticed)

    def _sampled(self, generation: Generation) -> bool:
        """Process sampled tokens; return whether the trajectory ended."""
        live = self._live[generation.id]
        token_ids = generation.token_ids
        boundary = self._rule.find(live.scanner, token_ids) if self._stops(live) else None
        self._keep(
            live, token_ids, generation.logprobs, len(token_ids) if boundary is None else boundary.kept
        )
        if boundary is not None:
            return self._at_boundary(generation.id, live, boundary)
        if token_ids and token_ids[-1] in self._codec.eos_ids:
            return self._end(live, conclusion(live.trajectory, self._format))
        if generation.finish is Finish.LENGTH or live.remaining_tokens <= 0:
            return self._end(live, StopReason.LENGTH)
        # The engine stopped where no call ends: continue at once.
        self._request(generation.id, live)
        return False

    def _keep(self, live: InFlight, token_ids: list[int], logprobs: list[float] | None, kept: int) -> None:
        """Append the first ``kept`` sampled tokens and count the dropped ones."""
        self.meter.sampled += len(token_ids)
        last = live.trajectory.segments[-1:]
        earlier = last[0].token_ids if last and last[0].author is Author.POLICY else []
        live.trajectory.fabricated_output |= self._format.fabricates(self._codec.text([*earlier, *token_ids]))
        live.trajectory.dropped_tokens += len(token_ids) - kept
        live.append(
            self._codec,
            Author.POLICY,
            token_ids[:kept],
            logprobs[:kept] if logprobs is not None else None,
            seconds=time.monotonic() - live.turn_began,
        )

    def _at_boundary(self, index: int, live: InFlight, boundary: Boundary) -> bool:
        """Start the tool call; return whether the trajectory ended."""
        trajectory = live.trajectory
        over = len(trajectory.executions) >= trajectory.task.budget
        if boundary.injected:
            injected = self._codec.encode_bytes(boundary.injected)
            live.append(self._codec, Author.TOOL, injected[: live.remaining_tokens])
        if over and self._cfg.over_budget == "stop":
            return self._end(live, StopReason.BUDGET)
        if live.remaining_tokens <= 0:
            return self._end(live, StopReason.LENGTH)
        if over:
            live.noticed = True
            return self._append_observation(index, live, observation(SPENT, boundary, self._format))
        assert self._tools is not None
        began = time.monotonic()
        call = Call(boundary.call.tool or "", {"text": boundary.call.body})
        try:
            call = self._format.parse(boundary.call)
            future = self._tools.submit(call, trajectory=live.name)
        except CallError as error:
            future = Future()
            future.set_result(ToolResult(Status.ERROR, "", f"CallError: {error}", 0.0))
        live.running = (call.tool, future)
        self._running += 1
        events, called = self._events, _Called(index, boundary, call, future, began)
        future.add_done_callback(lambda _: events.put(called))
        return False

    def _called(self, called: _Called) -> bool:
        """Process a finished tool call; return whether the trajectory ended."""
        live = self._live[called.id]
        live.running = None
        self._running -= 1
        self.meter.executions += 1
        result = called.future.result()
        live.trajectory.executions.append(Execution(called.call, result))
        if result.status is Status.INFRASTRUCTURE:
            return self._end(live, StopReason.INFRASTRUCTURE)
        text = message(result, self._cfg.feedback_chars, self._format, self._cfg.errors)
        pieces = observation(text, called.boundary, self._format)
        seconds = time.monotonic() - called.began
        return self._append_observation(called.id, live, pieces, called.call.tool, seconds)

    def _append_observation(
        self,
        index: int,
        live: InFlight,
        pieces: list[Piece],
        tool: str | None = None,
        seconds: float = 0.0,
    ) -> bool:
        """Append the observation and request the next tokens; return whether the trajectory ended."""
        token_ids = [token_id for piece in pieces for token_id in self._codec.encode_piece(piece)]
        # Tokens beyond the limit are cut: they are masked in the loss, and the trajectory ends here.
        live.append(self._codec, Author.TOOL, token_ids[: live.remaining_tokens], tool=tool, seconds=seconds)
        live.scanner = self._rule.scanner()
        if live.remaining_tokens <= 0:
            return self._end(live, StopReason.LENGTH)
        self.meter.turns.append(time.monotonic() - live.turn_began)
        self._request(index, live)
        return False

    def _end(self, live: InFlight, reason: StopReason) -> bool:
        if not live.trajectory.segments:  # the time limit came before its first token
            live.append(self._codec, Author.TOOL, [min(self._codec.eos_ids, default=self._codec.pad_id)])
        self.meter.turns.append(time.monotonic() - live.turn_began)
        live.trajectory.stop_reason = reason
        return True
