"""Counts and times of a pool's executions."""

from __future__ import annotations

import collections
import threading

from src.sandbox.api import ExecutionResult, Status

_RECENT = 10_000  # executions behind the percentiles
_SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


class Statistics:
    """Thread-safe. Percentiles cover the most recent executions, without infrastructure failures."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Reset all counts."""
        with self._lock:
            self._counts: collections.Counter[Status] = collections.Counter()
            self._replay_seconds = 0.0
            self._times: dict[str, collections.deque[float]] = {
                kind: collections.deque(maxlen=_RECENT) for kind in ("", "queued_")
            }

    def add(self, result: ExecutionResult, queued_seconds: float) -> None:
        """Count one execution and the seconds that it waited in the queue."""
        with self._lock:
            self._counts[result.status] += 1
            self._replay_seconds += result.replay_seconds
            if result.status is not Status.INFRASTRUCTURE:
                self._times[""].append(result.seconds)
                self._times["queued_"].append(queued_seconds)

    def numbers(self) -> dict[str, float]:
        """Return counts by status, ``executions``, ``replay_seconds``, and ``[queued_]p50_seconds`` etc."""
        with self._lock:
            counts = {str(status): float(self._counts[status]) for status in Status}
            replayed = self._replay_seconds
            times = {kind: sorted(seconds) for kind, seconds in self._times.items()}
        numbers = {"executions": sum(counts.values()), **counts, "replay_seconds": replayed}
        for kind, seconds in times.items():
            for name, share in _SHARES.items():
                last = max(len(seconds) - 1, 0)
                numbers[f"{kind}{name}_seconds"] = (
                    seconds[min(int(share * len(seconds)), last)] if seconds else 0.0
                )
        return numbers
