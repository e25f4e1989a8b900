"""Measures where the time of a rollout goes: progress while it runs, metrics when it is over."""

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
        live: unfinished trajectories.
        finished: finished trajectories.
        sampled: policy tokens that the engine returned, including discarded ones.
        executions: finished executions.
        stragglers: trajectories that ``rollout.max_seconds`` ended.
        generation: seconds spent waiting for the engine.
        idle: seconds in which the engine was idle while programs ran.
        turns: seconds of recent turns, each from its request to its end, including execution.
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
        """Seconds since the rollout began, or its duration once it is over."""
        return (time.monotonic() if self._ended is None else self._ended) - self._began

    def end(self) -> None:
        """Mark the rollout as over."""
        self.live, self._ended = 0, time.monotonic()

    def waited(self, seconds: float, sequences: int) -> None:
        """Add seconds in which the engine sampled ``sequences`` sequences; 0: it was idle, programs ran."""
        if sequences:
            self.generation += seconds
            self._sequence_seconds += sequences * seconds
        else:
            self.idle += seconds

    def seconds(self) -> dict[str, float]:
        """Return the seconds of ``generation`` and of ``execution`` (engine idle while programs run)."""
        return {"generation": self.generation, "execution": self.idle}

    def metrics(self) -> dict[str, float]:
        """Return metrics; ``running_sequences`` is the mean number of sequences while the engine samples."""
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
        """Return the line shown while the rollout runs."""
        seconds = max(self.elapsed, 1e-9)
        return (
            f"{self.live} live, {self.sampled / seconds:,.0f} tokens/s, "
            f"{self.executions / seconds:,.1f} executions/s"
        )
