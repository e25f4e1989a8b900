"""Keeping a sandbox busy from one thread, and what comes of it."""

from __future__ import annotations

import queue
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from src.sandbox import ExecutionResult, Sandbox


@dataclass
class Load:
    """Seconds from submitting to the result, of each program; how they ended; how long it all took."""

    latencies: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def per_second(self) -> float:
        """Throughput."""
        return len(self.latencies) / self.seconds


@dataclass
class Measured:
    """Values by measure, one a round, and the latencies of all rounds in seconds."""

    rounds: dict[str, list[float]] = field(default_factory=dict)
    latencies: dict[str, list[float]] = field(default_factory=dict)

    def add(self, measure: str, value: float) -> None:
        """One round's value."""
        self.rounds.setdefault(measure, []).append(value)

    def extend(self, what: str, latencies: list[float]) -> None:
        """More of one kind of latency."""
        self.latencies.setdefault(what, []).extend(latencies)


def share(values: Sequence[float], part: float) -> float:
    """The value below which ``part`` of ``values`` lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)]


def one_by_one(sandbox: Sandbox, make: Callable[[], str], count: int) -> Load:
    """``count`` programs, each after the one before."""
    load, start = Load(), time.perf_counter()
    for _ in range(count):
        code, began = make(), time.perf_counter()
        result = sandbox.run(code)
        load.latencies.append(time.perf_counter() - began)
        load.statuses[result.status] += 1
    load.seconds = time.perf_counter() - start
    return load


def closed_loop(sandbox: Sandbox, make: Callable[[], str], in_flight: int, count: int) -> Load:
    """``count`` programs, ``in_flight`` at any time: whenever one is done, the next is submitted."""
    done: queue.SimpleQueue[tuple[float, Future[ExecutionResult]]] = queue.SimpleQueue()
    load, submitted, start = Load(), 0, time.perf_counter()
    for finished in range(count):
        while submitted < count and submitted - finished < in_flight:
            code, began = make(), time.perf_counter()

            def note(future: Future[ExecutionResult], began: float = began) -> None:
                done.put((time.perf_counter() - began, future))

            sandbox.submit(code).add_done_callback(note)
            submitted += 1
        latency, future = done.get()
        load.latencies.append(latency)
        load.statuses[future.result().status] += 1
    load.seconds = time.perf_counter() - start
    return load
