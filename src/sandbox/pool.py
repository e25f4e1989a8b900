"""The pool: lanes, one thread each, behind one queue.

A lane that dies, hangs or sends invalid answers is closed and replaced, and its execution is retried, by the
first free lane. A program under which two lanes failed, each of which had passed its tests, is at fault
itself if another lane passes them afterwards: ``killed``. What failed twice before the program began is
``infrastructure``, and so is the result of programs that have not begun at their deadline, that are queued
when nothing is served any more, or when the pool closes.
A lane that cannot be replaced is retried after a pause. While no lane is left, every program ends immediately
as ``infrastructure``, with the reason, so that a caller who counts such failures can stop early.
"""

from __future__ import annotations

import atexit
import logging
import math
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from src.config import SandboxConfig
from src.sandbox.api import ExecutionResult, Sandbox, SandboxError, Status, printable
from src.sandbox.fair_queue import FairQueue, ProgramTask
from src.sandbox.lane import Lane, LaneFailure, LaneGone, Order, PastProgram, ProgramLost
from src.sandbox.statistics import Statistics

_log = logging.getLogger(__name__)
_START_PAUSES = (0.0, 0.5, 2.0)  # seconds before each attempt at starting a lane
_OUTAGE = 5.0  # seconds before the next attempts, once all of those failed
_TRIES = 2
_LOST = "it ended the interpreter that ran it, twice"
_REPLAY_FACTOR, _REPLAY_SECONDS = 2.0, 1.0  # a program that is run again may take longer than at first
_TICK = 0.1  # seconds between checks of the deadlines


@dataclass
class _History:
    """The history of a trajectory, with ``sandbox.state`` other than fresh; ``seconds`` include replays."""

    programs: list[PastProgram] = field(default_factory=list)
    seconds: float = 0.0


class WorkerPool(Sandbox):
    """``workers`` lanes from ``make_lane``, all ready once constructed.

    Raises SandboxError when one cannot be started.
    """

    def __init__(self, jail: str, workers: int, make_lane: Callable[[], Lane], cfg: SandboxConfig) -> None:
        self.jail, self.workers = jail, workers
        self._make_lane, self._cfg = make_lane, cfg
        self._stateful = cfg.state != "fresh"
        self._queue = FairQueue(cfg.queue, exclusive=self._stateful)
        self._statistics = Statistics()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._starts = 0
        self._lanes: dict[int, Lane] = {}  # by thread
        self._serving: set[int] = set()  # threads whose lane has started
        self._running: dict[Future[ExecutionResult], tuple[Lane, Order]] = {}
        self._histories: dict[str, _History] = {}
        self._outage = (0.0, "")  # until when no lane is started, and why
        self._served = time.monotonic()  # when a program last began or ended
        started: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        # A lane is started by the thread that uses it: a worker would die with the thread that started it.
        self._threads = [
            threading.Thread(target=self._serve, args=(index, started), name=f"sandbox-{index}", daemon=True)
            for index in range(workers)
        ]
        self._threads.append(threading.Thread(target=self._expire, name="sandbox-deadlines", daemon=True))
        atexit.register(self.close)
        for thread in self._threads:
            thread.start()
        problems = [problem for problem in (started.get() for _ in range(workers)) if problem]
        if problems:
            self.close()
            raise SandboxError(f"{self.jail}: a worker cannot start: {problems[0]}")

    def submit(
        self, code: str, *, trajectory: str | None = None, within: float | None = None, block: bool = True
    ) -> Future[ExecutionResult]:
        """See Sandbox.submit."""
        deadline = math.inf if within is None else time.monotonic() + within
        task = ProgramTask(code, trajectory, deadline)
        if not self._queue.put(task, block):
            raise SandboxError("the sandbox is closed")
        return task.future

    def cancel(self, future: Future[ExecutionResult]) -> None:
        """See Sandbox.cancel."""
        if not future.cancel():
            with self._lock:
                lane, order = self._running.get(future, (None, None))
            if lane is not None and order is not None:
                lane.cancel(order)

    def end(self, trajectory: str) -> None:
        """See Sandbox.end."""
        with self._lock:
            known = self._histories.pop(trajectory, None)
            lanes = list(self._lanes.values()) if known else []
        self._queue.forget(trajectory)
        for lane in lanes:
            lane.forget(trajectory)

    def stats(self) -> dict[str, float]:
        """See Sandbox.stats."""
        numbers = self._statistics.numbers()
        return numbers | {"restarts": max(self._starts - self.workers, 0), "queue": len(self._queue)}

    def pids(self) -> list[int]:
        """Process ids of the live lanes (of the outermost process of each) on this machine."""
        with self._lock:
            return [pid for lane in self._lanes.values() if (pid := lane.pid) is not None]

    def close(self) -> None:
        """See Sandbox.close."""
        with self._lock:
            if self._closed.is_set():
                return
            self._closed.set()
            lanes = list(self._lanes.values())
        for lane in lanes:
            lane.interrupt()
        atexit.unregister(self.close)
        for task in self._queue.close():
            self._settle(task, _infrastructure("the sandbox was closed"))
        for thread in self._threads:
            thread.join()

    def _expire(self) -> None:
        """Main loop of the thread that watches the deadlines of queued programs."""
        while not self._closed.wait(_TICK):
            for task in self._queue.expire():
                late = f"not begun {task.deadline - task.submitted:g} s after it was submitted"
                self._settle(task, _infrastructure(late))
            now, longest = time.monotonic(), self._cfg.deadline_seconds
            if self._running:  # for a time that its lane limits
                self._served = now
            elif now - self._served > longest:
                for task in self._queue.expire(submitted_before=now - longest):
                    self._settle(task, _infrastructure(f"no program has been served for {longest:g} s"))

    def _serve(self, index: int, started: queue.SimpleQueue[str | None]) -> None:
        """Main loop of a lane's thread: keep a lane running, take tasks."""
        try:
            self._replace(index)
            started.put(None)
        except LaneFailure as error:
            started.put(str(error))
            return
        while True:
            self._stand_ready(index)
            task = self._queue.take(index)
            if task is None:
                break
            began = self._served = time.monotonic()
            try:
                result = self._execute(index, task)
                self._served = time.monotonic()
                if result is None and self._queue.put_back(task):
                    continue
                result = result or _infrastructure("the sandbox was closed")
                self._remember(task, result)
                self._queue.done(task, index)
                self._settle(task, result, began - task.submitted)
            except BaseException as error:  # a bug here must not leave a caller waiting forever
                self._queue.done(task, index)
                task.future.set_exception(error)
        self._drop(index)

    def _stand_ready(self, index: int) -> None:
        """Return a lane; None if no thread has one, so that queued programs must fail."""
        while index not in self._serving and not self._closed.is_set():
            try:
                self._replace(index)
            except LaneFailure:
                if not self._serving:
                    return
                self._closed.wait(_TICK)

    def _execute(self, index: int, task: ProgramTask) -> ExecutionResult | None:
        """Make one attempt; return None if it failed and should be repeated."""
        began = time.monotonic()
        with self._lock:
            lane = self._lanes.get(index)
            problem = self._outage[1]
        try:
            if lane is None:
                raise LaneFailure(problem)
            return self._execute_on(lane, task)
        except LaneFailure as error:
            self._drop(index)
            task.lost += isinstance(error, ProgramLost)
            task.tries += not isinstance(error, LaneGone | ProgramLost)
            if not self._closed.is_set():
                _log.warning("sandbox worker %d failed: %s", index, printable(str(error)))
            if task.lost >= _TRIES and not self._closed.is_set():
                return self._blame(index, time.monotonic() - began)
            if task.tries >= _TRIES:
                return _infrastructure(printable(str(error)))
            if task.lost:
                task.deadline = math.inf  # it has begun
            self._closed.wait(_TICK)  # what killed this lane may be about to be seen on another
            return None

    def _blame(self, index: int, seconds: float) -> ExecutionResult:
        """Return the result of a program that two lanes were lost with: its own fault if another is sound."""
        try:
            self._replace(index)
        except LaneFailure as error:
            return _infrastructure(printable(str(error)))
        return ExecutionResult(Status.KILLED, "", _LOST, seconds)

    def _execute_on(self, lane: Lane, task: ProgramTask) -> ExecutionResult:
        """Execute within the remaining time of every limit. Raises LaneFailure."""
        history = _History()
        if self._stateful and task.trajectory is not None:
            with self._lock:
                history = self._histories.setdefault(task.trajectory, history)
        wall = min(self._cfg.wall_seconds, self._cfg.trajectory_seconds - history.seconds)
        if wall <= 0:
            used_up = f"the {self._cfg.trajectory_seconds:g} s of its trajectory are used up"
            return ExecutionResult(Status.TIMEOUT, "", used_up, 0.0)
        order = Order(task.code, wall, task.trajectory, tuple(history.programs))
        with self._lock:
            self._running[task.future] = lane, order
        try:
            return lane.execute(order)
        finally:
            with self._lock:
                del self._running[task.future]

    def _remember(self, task: ProgramTask, result: ExecutionResult) -> None:
        """Record a program on whose state later programs of the trajectory build."""
        if not self._stateful or task.trajectory is None:
            return
        with self._lock:
            history = self._histories.get(task.trajectory)
            if history is not None:
                history.seconds += result.seconds + result.replay_seconds
                if result.status is Status.OK or result.kept:
                    longest = _REPLAY_FACTOR * result.seconds + _REPLAY_SECONDS
                    history.programs.append(PastProgram(task.code, longest, result.kept))

    def _replace(self, index: int) -> None:
        """Start a lane, trying a few times. Raises LaneFailure."""
        with self._lock:
            until, problem = self._outage
        if time.monotonic() < until:
            raise LaneFailure(problem)
        for pause in _START_PAUSES:
            if self._closed.wait(pause):
                raise LaneFailure("the sandbox was closed")
            try:
                self._start(index)
                return
            except (LaneFailure, OSError, SandboxError) as error:
                self._drop(index)
                problem = str(error)
        with self._lock:
            self._outage = (time.monotonic() + _OUTAGE, problem)
        raise LaneFailure(problem)

    def _start(self, index: int) -> None:
        lane = self._make_lane()
        with self._lock:
            self._lanes[index] = lane  # known before it is ready, so that close() can interrupt it
            closed = self._closed.is_set()
            self._starts += 1
        if closed:
            raise LaneFailure("the sandbox was closed")
        missing = lane.start()
        if missing:
            _log.warning("sandbox=%s runs without %s", self.jail, "; ".join(missing))
        with self._lock:
            self._serving.add(index)

    def _drop(self, index: int) -> None:
        with self._lock:
            lane = self._lanes.pop(index, None)
            self._serving.discard(index)
        if lane is not None:
            lane.close()

    def _settle(self, task: ProgramTask, result: ExecutionResult, queued_seconds: float = 0.0) -> None:
        self._statistics.add(result, queued_seconds)
        task.future.set_result(result)


def _infrastructure(problem: str) -> ExecutionResult:
    return ExecutionResult(Status.INFRASTRUCTURE, "", problem, 0.0)
