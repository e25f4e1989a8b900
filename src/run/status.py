"""``status.json`` in a run's folder: how far the run is, for whoever looks at it from outside."""

from __future__ import annotations

import math
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.markup import escape

from src.run.console import console
from src.run.disk import write_json

STATUS = "status.json"
RUNNING, FINISHED, INTERRUPTED, FAILED = "running", "finished", "interrupted", "failed"
_RECENT = 20  # steps from whose duration the time left is estimated
_ALARMS = 20  # the last ones are kept
_SECONDS = 5.0  # least time between two reports on the same activity


class RunStatus:
    """Writes ``status.json``: atomically, after each step and evaluation, and at the end; a context manager.

    A run that was killed leaves the state ``running``, and no lock on its folder (src/run/folder_lock.py).

    Args:
        folder: of the run.
        steps: rollout steps of the whole run; None: it has no steps.
        step: steps that are already done.
        write: True on rank 0 only; other processes write nothing.
        clock: returns seconds.
    """

    def __init__(
        self,
        folder: Path,
        steps: int | None = None,
        step: int = 0,
        *,
        write: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file, self._write_allowed, self._clock = folder / STATUS, write, clock
        self._durations: deque[float] = deque(maxlen=_RECENT)
        self._since = clock()  # the last step ended, or training began
        self._closing = 0.0  # seconds of the evaluation after training, as far as known
        self._told = -math.inf
        self._warned = False
        self._data: dict[str, Any] = {
            "state": RUNNING,
            "activity": {"what": "preparing", "done": None, "total": None},
            "step": step,
            "steps": steps,
            "seconds_left": None,
            "metrics": {},
            "evaluations": [],
            "alarms": [],
            "error": None,
            "process": {"pid": os.getpid(), "host": socket.gethostname()},
            "started": _now(),
            "updated": _now(),
        }

    def __enter__(self) -> Self:
        if self._write_allowed:
            self._file.parent.mkdir(parents=True, exist_ok=True)
        self._write()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._data["state"] != FINISHED:
            failed = error is not None and not isinstance(error, KeyboardInterrupt)
            self._data["state"] = FAILED if failed else INTERRUPTED
            self._data["error"] = f"{type(error).__name__}: {error}" if failed else None
        self._write()

    def begin_training(self, closing_seconds: float = 0.0) -> None:
        """Start the clock of the first step.

        Args:
            closing_seconds: expected duration of what follows the last step.
        """
        self._since, self._closing = self._clock(), closing_seconds
        self._do("training", self._data["step"], self._data["steps"])
        self._write()

    def step(self, step: int, metrics: Mapping[str, float], alarms: Sequence[tuple[int, str]] = ()) -> None:
        """Report a finished rollout step.

        The time left is estimated from the last 20 steps, with the evaluations and checkpoints between them.

        Args:
            step: number of finished steps.
            metrics: of the last one.
            alarms: that fired, as pairs of the step and the message.
        """
        now = self._clock()
        self._durations.append(now - self._since)
        self._since = now
        self._data["step"] = step
        self._data["metrics"] = {name: _finite(value) for name, value in metrics.items()}
        recent = [*self._data["alarms"], *({"step": at, "message": text} for at, text in alarms)]
        self._data["alarms"] = recent[-_ALARMS:]
        if self._data["steps"] is not None:
            mean = sum(self._durations) / len(self._durations)
            self._data["seconds_left"] = (self._data["steps"] - step) * mean + self._closing
        self._do("training", step, self._data["steps"])
        self._write()

    def evaluated(self, points: Sequence[dict[str, Any]]) -> None:
        """Report accuracies: ``step, benchmark, mode, accuracy, ...`` of each; older ones are replaced."""
        latest = {(one["benchmark"], one["mode"]): one for one in [*self._data["evaluations"], *points]}
        self._data["evaluations"] = list(latest.values())
        self._write()

    def progress(self, what: str, done: float, total: float | None, left: float | None = None) -> None:
        """Report how far an activity is; reports in quick succession on the same activity are dropped.

        Args:
            what: such as ``evaluating before training, free``.
            done: finished parts.
            total: all parts, if known.
            left: seconds left of the activity; used only by runs without steps.
        """
        now = self._clock()
        if what == self._data["activity"]["what"] and done != total and now - self._told < _SECONDS:
            return
        self._told = now
        if self._data["steps"] is None:
            self._data["seconds_left"] = left
        self._do(what, done, total)
        self._write()

    def finish(self) -> None:
        """Report that the run is complete."""
        self._data["state"], self._data["seconds_left"] = FINISHED, 0.0
        self._do("finished")
        self._write()

    def _do(self, what: str, done: float | None = None, total: float | None = None) -> None:
        self._data["activity"] = {"what": what, "done": done, "total": total}

    def _write(self) -> None:
        """Write the file; where that fails, warn once: it is not worth a run, nor hiding why one ended."""
        if not self._write_allowed:
            return
        try:
            write_json(self._file, self._data | {"updated": _now()})
        except OSError as error:
            if not self._warned:
                console.print(f"[bold yellow]{escape(f'{self._file}: cannot be written ({error})')}")
            self._warned = True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _finite(value: float) -> float | None:
    """Return a number that JSON has; nan and infinity become None."""
    return value if math.isfinite(value) else None
