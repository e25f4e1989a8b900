"""What a rollout does with its time: numbers while it runs, metrics when it is over."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np

_RECENT = 16_384  # turns


@dataclass
class Meter:
    """Counts of one rollout, kept by its scheduler.

    Attributes:
        live: trajectories on their way.
        finished: trajectories that ended.
        sampled: policy tokens that engines returned, those thrown away included.
        executions: programs that ended.
        stragglers: trajectories that ``rollout.max_seconds`` ended.
        generation: seconds of waiting for the engine.
        idle: seconds in which the engine had nothing to do because programs ran.
        turns: seconds of recent turns, each from its request to its end, its program included.
    """

    live: int = 0
    finished: int = 0
    sampled: int = 0
    executions: int = 0
    stragglers: int = 0
    generation: float = 0.0
    idle: float = 0.0
    turns: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))
    _sequence_seconds: float = 0.0
    _began: float = field(default_factory=time.monotonic)
    _ended: float | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since the rollout began, until it was over."""
        return (time.monotonic() if self._ended is None else self._ended) - self._began

    def end(self) -> None:
        """The rollout is over."""
        self.live, self._ended = 0, time.monotonic()

    def waited(self, seconds: float, sequences: int) -> None:
        """The engine sampled for ``sequences`` requests (or for none: programs ran) for that long."""
        if sequences:
            self.generation += seconds
            self._sequence_seconds += sequences * seconds
        else:
            self.idle += seconds

    def seconds(self) -> dict[str, float]:
        """Where the time went: ``generation`` and ``execution`` (the engine idle while programs run)."""
        return {"generation": self.generation, "execution": self.idle}

    def metrics(self) -> dict[str, float]:
        """``running_sequences`` is the mean number in the engine while it samples; turns are in seconds."""
        metrics = {
            "running_sequences": self._sequence_seconds / self.generation if self.generation else 0.0,
            "stragglers": float(self.stragglers),
            "tokens_per_second": self.sampled / self.elapsed if self.elapsed else 0.0,
        }
        if self.turns:
            p50, p95 = np.quantile(self.turns, [0.5, 0.95])
            metrics |= {"turn_p50_seconds": float(p50), "turn_p95_seconds": float(p95)}
        return metrics

    def line(self) -> str:
        """What a person reads while the rollout runs."""
        seconds = max(self.elapsed, 1e-9)
        return (
            f"{self.live} live, {self.sampled / seconds:,.0f} tokens/s, "
            f"{self.executions / seconds:,.1f} executions/s"
        )
