"""The pool's queue: bounded, with trajectories taking turns, deadlines and cancellation."""

from __future__ import annotations

import collections
import itertools
import math
import threading
import time
import weakref
from concurrent.futures import Future
from dataclasses import dataclass, field

from src.sandbox.api import ExecutionResult, QueueFull

_anonymous = itertools.count()


@dataclass(eq=False)
class ProgramTask:
    """A queued or running program; ``deadline`` is a value of ``time.monotonic``."""

    code: str
    trajectory: str | None
    deadline: float
    future: Future[ExecutionResult] = field(default_factory=Future)
    submitted: float = field(default_factory=time.monotonic)
    queued: bool = False
    tries: int = 0  # that failed before it began
    lost: int = 0  # that failed while it ran

    def __post_init__(self) -> None:
        self.key: str | int = next(_anonymous) if self.trajectory is None else self.trajectory


class FairQueue:
    """At most ``size`` tasks wait; :meth:`take` goes round the trajectories, oldest task of each first.

    ``exclusive``: a trajectory's next task is not handed out before :meth:`done` for the one before, and goes
    to the lane that had that one, unless that lane is busy and another is not.
    """

    def __init__(self, size: int, exclusive: bool) -> None:
        self._size, self._exclusive = size, exclusive
        lock = threading.Lock()
        self._changed, self._room = threading.Condition(lock), threading.Condition(lock)
        self._waiting: dict[str | int, collections.deque[ProgramTask]] = {}  # never an empty deque
        # Trajectories whose tasks may be handed out, by the lane that ran them last; each with its number.
        self._turns: dict[int | None, collections.deque[tuple[int, str | int]]] = {None: collections.deque()}
        self._numbers = itertools.count()
        self._homes: dict[str | int, int] = {}
        self._busy: set[str | int] = set()
        self._idle: collections.Counter[int] = collections.Counter()  # lanes that wait for a task
        self._count = 0
        self._earliest = math.inf  # no earlier deadline
        self._closed = False

    def __len__(self) -> int:
        return self._count

    def put(self, task: ProgramTask, block: bool) -> bool:
        """Queue ``task``, waiting for room if ``block``; False when closed. Raises QueueFull."""
        with self._room:
            while self._count >= self._size and not self._closed:
                if not block:
                    raise QueueFull(f"{self._size} programs are waiting")
                self._room.wait()
            if self._closed:
                return False
            if task.key in self._waiting:
                self._waiting[task.key].append(task)
            else:
                self._waiting[task.key] = collections.deque([task])
                if task.key not in self._busy:
                    self._line_up(task.key)
            task.queued = True
            self._count += 1
            self._earliest = min(self._earliest, task.deadline)
        # When it is cancelled. A strong reference would tie future and task together until the garbage
        # collector looks at old objects, which in a process with a large heap it hardly ever does.
        known = weakref.ref(task)
        task.future.add_done_callback(lambda _: self._drop(known()))
        return True

    def take(self, lane: int = 0) -> ProgramTask | None:
        """Wait for the next task for ``lane``; its future is running. None once closed."""
        while True:
            with self._changed:
                self._idle[lane] += 1
                while (task := self._next(lane)) is None and not self._closed:
                    self._changed.wait()
                self._idle[lane] -= 1
            if task is None:
                return None
            if _claim(task):
                return task
            self.done(task, lane)

    def put_back(self, task: ProgramTask) -> bool:
        """Put a taken task back as its trajectory's next, even if the queue is full; False when closed."""
        with self._changed:
            if self._closed:
                return False
            self._busy.discard(task.key)
            others = self._waiting.setdefault(task.key, collections.deque())
            if self._exclusive or not others:  # otherwise it has its turn already
                self._turns[None].appendleft((-1, task.key))
            others.appendleft(task)
            task.queued = True
            self._count += 1
            self._earliest = min(self._earliest, task.deadline)
            self._changed.notify()
        return True

    def done(self, task: ProgramTask, lane: int = 0) -> None:
        """Mark ``task`` as finished by ``lane``, so that its trajectory's next task may run."""
        if not self._exclusive:
            return
        with self._changed:
            self._busy.discard(task.key)
            if task.trajectory is not None:
                self._homes[task.key] = lane
            if task.key in self._waiting:
                self._line_up(task.key)

    def forget(self, trajectory: str) -> None:
        """Forget ``trajectory``, which has no more tasks."""
        with self._changed:
            self._homes.pop(trajectory, None)

    def expire(self, submitted_before: float = -math.inf) -> list[ProgramTask]:
        """Remove and return tasks whose deadline has passed; their futures are running.

        With them, those that were submitted before a time.
        """
        now = time.monotonic()
        if now < self._earliest and submitted_before == -math.inf:
            return []
        with self._changed:
            waiting = [task for tasks in self._waiting.values() for task in tasks if task.queued]
            late = [task for task in waiting if task.deadline <= now or task.submitted < submitted_before]
            self._earliest = min((task.deadline for task in waiting if task.deadline > now), default=math.inf)
            for task in late:
                self._leave(task)
        return [task for task in late if _claim(task)]

    def close(self) -> list[ProgramTask]:
        """Close the queue; return the waiting tasks, with running futures."""
        with self._changed:
            self._closed = True
            left = [task for tasks in self._waiting.values() for task in tasks if task.queued]
            for task in left:
                self._leave(task)
            self._waiting.clear()
            self._turns.clear()
            self._changed.notify_all()
            self._room.notify_all()
        return [task for task in left if _claim(task)]

    def _line_up(self, key: str | int) -> None:
        """Give a trajectory its turn after all others."""
        home = self._homes.get(key)
        self._turns.setdefault(home, collections.deque()).append((next(self._numbers), key))
        if home is None:
            self._changed.notify()
        else:
            self._changed.notify_all()  # one of them is the lane in question

    def _next(self, lane: int) -> ProgramTask | None:
        """Return the next task for a lane, skipping those that another idle lane should take."""
        while True:
            lines = [
                (turns[0], turns)
                for home, turns in self._turns.items()
                if turns and (home is None or home == lane or not self._idle[home])
            ]
            if not lines:
                return None
            turns = min(lines, key=lambda line: line[0][0])[1]
            key = turns.popleft()[1]
            tasks = self._waiting[key]
            while tasks and not tasks[0].queued:
                tasks.popleft()
            if not tasks:
                del self._waiting[key]
                continue
            task = tasks.popleft()
            if not tasks:
                del self._waiting[key]
            elif not self._exclusive:
                self._line_up(key)
            if self._exclusive:
                self._busy.add(key)
            self._leave(task)
            return task

    def _drop(self, task: ProgramTask | None) -> None:
        with self._changed:
            if task is not None and task.queued:
                self._leave(task)

    def _leave(self, task: ProgramTask) -> None:
        """Mark the task as gone; it stays in its deque and is skipped."""
        task.queued = False
        self._count -= 1
        self._room.notify()


def _claim(task: ProgramTask) -> bool:
    """Whether its result is still wanted; the future of a task that was put back is already running."""
    return task.future.running() or task.future.set_running_or_notify_cancel()
