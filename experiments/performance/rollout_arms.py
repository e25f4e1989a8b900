"""Stand-ins for bench_rollout: programs that only take time, and engines that are made to behave."""

from __future__ import annotations

import hashlib
import heapq
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

from src.policy.codec import TokenCodec
from src.rollout.engines import Engine, Generation, Request
from src.sandbox import ExecutionResult, Sandbox, Status

SHORT, MIDDLE, LONG = 0.03, 0.5, 3.0  # seconds that programs take
EXECUTIONS = 2  # of every trajectory


def latency(code: str, turn: int, seed: int) -> float:
    """Seconds that a program takes: heavy-tailed, the same in every arm."""
    digest = hashlib.blake2b(f"{seed} {turn} {code}".encode(), digest_size=8).digest()
    draw = random.Random(digest).random()
    return LONG if draw < 0.03 else MIDDLE if draw < 0.13 else SHORT


class SleepingSandbox(Sandbox):
    """Answers with 1 after a program's latency; needs no processor meanwhile.

    Args:
        seed: of the latencies; None: they are zero.
    """

    jail, workers = "none", 1

    def __init__(self, seed: int | None) -> None:
        self._seed = seed
        self._turns: dict[str, int] = {}
        self._chains: dict[str, float] = {}
        self._due: list[tuple[float, int, Future[ExecutionResult]]] = []
        self._numbers = 0
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()

    def submit(
        self, code: str, *, trajectory: str | None = None, within: float | None = None, block: bool = True
    ) -> Future[ExecutionResult]:
        """See Sandbox.submit."""
        assert trajectory is not None
        future: Future[ExecutionResult] = Future()
        turn = self._turns[trajectory] = self._turns.get(trajectory, 0) + 1
        if self._seed is None:
            future.set_result(_ANSWER)
            return future
        seconds = latency(code, turn, self._seed)
        self._chains[trajectory] = self._chains.get(trajectory, 0.0) + seconds
        with self._changed:
            self._numbers += 1
            heapq.heappush(self._due, (time.monotonic() + seconds, self._numbers, future))
            self._changed.notify()
        return future

    @property
    def longest_chain(self) -> float:
        """Most seconds that one trajectory's programs took together."""
        return max(self._chains.values(), default=0.0)

    def _answer(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is None or wait > 0:
                    self._changed.wait(wait)
                    continue
                future = heapq.heappop(self._due)[2]
            future.set_result(_ANSWER)

    def stats(self) -> dict[str, float]:
        """See Sandbox.stats."""
        return {}

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()


_ANSWER = ExecutionResult(Status.OK, "1\n", None, 0.0)


class _Wrapped:
    """An engine that does as the one inside it does."""

    def __init__(self, engine: Engine) -> None:
        self.streaming, self.background = engine.streaming, engine.background
        self._engine = engine

    @property
    def pending(self) -> int:
        """See Engine.pending."""
        return self._engine.pending

    def start(self, notify: Callable[[], None]) -> None:
        """See Engine.start."""
        self._engine.start(notify)

    def submit(self, request: Request) -> None:
        """See Engine.submit."""
        self._engine.submit(request)

    def poll(self, until: float | None = None) -> list[Generation]:
        """See Engine.poll."""
        return self._engine.poll(until)

    def abort(self) -> list[Generation]:
        """See Engine.abort."""
        return self._engine.abort()

    def stop(self) -> None:
        """See Engine.stop."""
        self._engine.stop()


class Insisting(_Wrapped):
    """An engine whose policy, where it would end before its second program, writes one."""

    def __init__(self, engine: Engine, codec: TokenCodec) -> None:
        super().__init__(engine)
        self._codec = codec
        self._turns: Counter[int] = Counter()

    def start(self, notify: Callable[[], None]) -> None:
        """See Engine.start."""
        self._turns.clear()
        super().start(notify)

    def poll(self, until: float | None = None) -> list[Generation]:
        """See Engine.poll."""
        return [self._insist(generation) for generation in super().poll(until)]

    def _insist(self, generation: Generation) -> Generation:
        self._turns[generation.id] += 1
        ids = generation.token_ids
        if self._turns[generation.id] > EXECUTIONS or not ids or ids[-1] not in self._codec.eos_ids:
            return generation
        block = self._codec.encode(f"\n```python\nprint({generation.id})\n```")
        assert generation.logprobs is not None
        return replace(
            generation,
            token_ids=ids[:-1] + block,
            logprobs=generation.logprobs[:-1] + [0.0] * len(block),
        )


class Lockstep(_Wrapped):
    """An engine that is batch-synchronous: it samples to the end for all before it gives any back."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.streaming = self.background = False

    def poll(self, until: float | None = None) -> list[Generation]:
        """Sample until every request is answered."""
        done: list[Generation] = []
        while self.pending:
            done += super().poll(until)
        return done
