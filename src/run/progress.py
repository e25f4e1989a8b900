"""A progress bar that also reports by lines where there is no terminal, and to a listener."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from rich.progress import Progress, Task, TaskID

# description, finished parts, all parts if known, seconds left if known
Listener = Callable[[str, float, float | None, float | None], None]
_SECONDS = 30.0  # between two lines


class ReportingProgress(Progress):
    """A progress bar; in a log file, each task prints a line every 30 seconds instead.

    It does so even while nothing is finished, with the number of running trajectories and the tokens per
    second; a task with the field ``lines=False`` never does.

    Args:
        columns: see Progress.
        listener: called whenever a task is advanced.
        clock: returns seconds.
        every: seconds between two lines.
        options: see Progress.
    """

    def __init__(
        self,
        *columns: Any,
        listener: Listener | None = None,
        clock: Callable[[], float] = time.monotonic,
        every: float = _SECONDS,
        **options: Any,
    ) -> None:
        self._listener, self._clock, self._every = listener, clock, every
        self._begun: dict[TaskID, tuple[float, float]] = {}  # seconds, and parts that were done before
        self._printed: dict[TaskID, float] = {}
        self._ended, self._thread = threading.Event(), threading.Thread(target=self._beat, daemon=True)
        super().__init__(*columns, **options)

    def start(self) -> None:
        """See Progress."""
        super().start()
        if not (self.disable or self.console.is_terminal or self._thread.is_alive()):
            self._thread.start()

    def stop(self) -> None:
        """See Progress."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        super().stop()

    def add_task(self, description: str, *arguments: Any, **options: Any) -> TaskID:
        """See Progress."""
        with self._lock:
            task = super().add_task(description, *arguments, **options)
            self._printed[task] = self._clock()
            self._begun[task] = (self._clock(), self._tasks[task].completed)
        return task

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """See Progress."""
        super().advance(task_id, advance)
        task = self._tasks[task_id]
        if self._listener is not None:
            self._listener(task.description, task.completed, task.total, self._speed(task)[1])
        self.report()

    def report(self) -> None:
        """Print a line about each task whose last line is long ago, unless this is a terminal."""
        if self.console.is_terminal:
            return
        with self._lock:
            now = self._clock()
            tasks = [task for task in self._tasks.values() if task.visible and task.fields.get("lines", True)]
            due = [task for task in tasks if now - self._printed.get(task.id, now) >= self._every]
            self._printed |= dict.fromkeys((task.id for task in due), now)
            lines = [self._line(task) for task in due]
        for line in lines:
            self.console.print(line, highlight=False, markup=False)

    def _beat(self) -> None:
        while not self._ended.wait(self._every / 30):
            self.report()

    def _speed(self, task: Task) -> tuple[float, float | None]:
        """Return parts per second, and the seconds left, if they are known."""
        start, before = self._begun[task.id]
        now = self._clock()
        rate = (task.completed - before) / (now - start) if now > start else 0.0
        return rate, (task.total - task.completed) / rate if task.total is not None and rate else None

    def _line(self, task: Task) -> str:
        rate, left = self._speed(task)
        parts = [f"{task.completed:,.0f}"]
        if task.total:
            parts = [f"{task.completed:,.0f} of {task.total:,.0f} ({task.completed / task.total:.0%})"]
        parts += [f"{rate:.3g}/s"] if rate else []
        if left is not None:
            parts.append(f"{duration(left)} left")
        owner = task.fields.get("meter")  # an object whose ``meter`` is that of the current rollout
        if owner is not None and owner.meter.live:
            parts.append(owner.meter.line().strip())
        return f"{task.description}: {', '.join(parts)}"


def duration(seconds: float) -> str:
    """Return seconds in words, such as ``40 s``, ``12 min`` or ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours >= 48:
        return f"{hours / 24:.1f} days"
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"
