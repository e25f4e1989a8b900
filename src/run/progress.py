"""A progress bar that also reports by lines where there is no terminal, and to a listener."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich.markup import escape
from rich.progress import Progress, TaskID

# description, finished parts, all parts if known, seconds left if known
Listener = Callable[[str, float, float | None, float | None], None]
_SECONDS = 30.0  # between two lines


class ReportingProgress(Progress):
    """A progress bar; in a log file, each task that is advanced prints a line every 30 seconds instead.

    Args:
        columns: see Progress.
        listener: called whenever a task is advanced.
        clock: returns seconds.
        options: see Progress.
    """

    def __init__(
        self,
        *columns: Any,
        listener: Listener | None = None,
        clock: Callable[[], float] = time.monotonic,
        **options: Any,
    ) -> None:
        self._listener, self._clock = listener, clock
        self._begun: dict[TaskID, tuple[float, float]] = {}  # seconds, and parts that were done before
        self._printed: dict[TaskID, float] = {}
        super().__init__(*columns, **options)

    def add_task(self, description: str, *arguments: Any, **options: Any) -> TaskID:
        """See Progress."""
        task = super().add_task(description, *arguments, **options)
        self._printed[task], self._begun[task] = self._clock(), (self._clock(), self._tasks[task].completed)
        return task

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """See Progress."""
        super().advance(task_id, advance)
        task, now = self._tasks[task_id], self._clock()
        start, before = self._begun[task_id]
        rate = (task.completed - before) / (now - start) if now > start else 0.0
        left = (task.total - task.completed) / rate if task.total is not None and rate else None
        if self._listener is not None:
            self._listener(task.description, task.completed, task.total, left)
        if self.console.is_terminal or now - self._printed[task_id] < _SECONDS:
            return
        self._printed[task_id] = now
        parts = [f"{task.completed:,.0f}"]
        if task.total:
            parts = [f"{task.completed:,.0f} of {task.total:,.0f} ({task.completed / task.total:.0%})"]
        parts.append(f"{rate:.3g}/s")
        if left is not None:
            parts.append(f"{duration(left)} left")
        self.console.print(f"{escape(task.description)}: {', '.join(parts)}", highlight=False)


def duration(seconds: float) -> str:
    """Return seconds in words, such as ``40 s``, ``12 min`` or ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours >= 48:
        return f"{hours / 24:.1f} days"
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"
