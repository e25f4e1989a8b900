"""The pool: warm workers, one thread each, one queue.

A worker that dies, hangs or answers nonsense is killed and replaced, and its execution is retried once on the
new one; after that the result is ``infrastructure``. So is everything that is pending when the pool closes.
"""

from __future__ import annotations

import atexit
import collections
import logging
import os
import queue
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field

from src.config import SandboxConfig
from src.sandbox.api import ExecutionResult, Sandbox, SandboxError, Status
from src.sandbox.client import Worker, WorkerFailure
from src.sandbox.jails.base import Jail

_log = logging.getLogger(__name__)
_START_PAUSES = (0.0, 0.5, 2.0)  # seconds before each attempt at starting a worker
_TRIES = 2
_RECENT = 10_000  # executions behind the percentiles


@dataclass
class _Task:
    code: str
    future: Future[ExecutionResult] = field(default_factory=Future)


class WorkerPool(Sandbox):
    """``cfg.workers`` workers (0: one per core) in ``jail``, all warm once constructed.

    Raises SandboxError when a worker cannot be started.
    """

    def __init__(self, jail: Jail, cfg: SandboxConfig) -> None:
        self.jail, self.workers = jail.name, cfg.workers or len(os.sched_getaffinity(0))
        self._jail, self._cfg = jail, cfg
        self._queue: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._counts: collections.Counter[Status] = collections.Counter()
        self._starts = 0
        self._seconds: collections.deque[float] = collections.deque(maxlen=_RECENT)
        self._workers: dict[int, Worker] = {}  # by thread
        started: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        # A worker is started by the thread that uses it: it would die with the thread that started it.
        self._threads = [
            threading.Thread(target=self._serve, args=(index, started), name=f"sandbox-{index}", daemon=True)
            for index in range(self.workers)
        ]
        atexit.register(self.close)
        for thread in self._threads:
            thread.start()
        problems = [problem for problem in (started.get() for _ in self._threads) if problem]
        if problems:
            self.close()
            raise SandboxError(f"{self.jail}: a worker cannot start: {problems[0]}")

    def submit(self, code: str) -> Future[ExecutionResult]:
        """See Sandbox.submit."""
        task = _Task(code)
        with self._lock:
            if self._closed.is_set():
                raise SandboxError("the sandbox is closed")
            self._queue.put(task)
        return task.future

    def stats(self) -> dict[str, float]:
        """See Sandbox.stats."""
        with self._lock:
            seconds = sorted(self._seconds)
            counts: dict[str, float] = {str(status): self._counts[status] for status in Status}
            restarts = max(self._starts - self.workers, 0)
        return {
            "executions": sum(counts.values()),
            **counts,
            "p50_seconds": _quantile(seconds, 0.5),
            "p95_seconds": _quantile(seconds, 0.95),
            "restarts": restarts,
            "queue": self._queue.qsize(),
        }

    def forget_stats(self) -> None:
        """Start counting anew."""
        with self._lock:
            self._counts.clear()
            self._seconds.clear()
            self._starts = self.workers

    def pids(self) -> list[int]:
        """Process ids of the live workers (of the outermost process of each)."""
        with self._lock:
            return [worker.pid for worker in self._workers.values()]

    def close(self) -> None:
        """See Sandbox.close."""
        with self._lock:
            if self._closed.is_set():
                return
            self._closed.set()
            for worker in self._workers.values():
                worker.interrupt()
        atexit.unregister(self.close)
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        while not self._queue.empty():
            if task := self._queue.get():
                self._settle(task, _infrastructure("the sandbox was closed", 0.0))

    def _serve(self, index: int, started: queue.SimpleQueue[str | None]) -> None:
        """One thread's life: keep a worker, take tasks."""
        try:
            self._replace(index)
            started.put(None)
        except WorkerFailure as error:
            started.put(str(error))
            return
        while task := self._queue.get():
            if not task.future.set_running_or_notify_cancel():
                continue
            try:
                self._settle(task, self._execute(index, task.code))
            except BaseException as error:  # a bug here must not leave a caller waiting for ever
                task.future.set_exception(error)
        self._drop(index)

    def _execute(self, index: int, code: str) -> ExecutionResult:
        start, problem = time.monotonic(), ""
        with self._lock:
            worker = self._workers.get(index)
        try:
            for _ in range(_TRIES):
                worker = worker or self._replace(index)
                try:
                    return worker.execute(code)
                except WorkerFailure as error:
                    self._drop(index)
                    worker, problem = None, str(error)
                    if not self._closed.is_set():
                        _log.warning("sandbox worker %d failed: %s", index, problem)
            self._replace(index)  # so that the next program finds it warm
        except WorkerFailure as error:
            problem = str(error)
        return _infrastructure(problem, time.monotonic() - start)

    def _replace(self, index: int) -> Worker:
        """Start a worker, trying a few times. Raises WorkerFailure."""
        problem = ""
        for pause in _START_PAUSES:
            if self._closed.wait(pause):
                problem = "the sandbox was closed"
                break
            try:
                return self._start(index)
            except (WorkerFailure, OSError, SandboxError) as error:
                self._drop(index)
                problem = str(error)
        raise WorkerFailure(problem)

    def _start(self, index: int) -> Worker:
        worker = Worker(self._jail, self._cfg)
        with self._lock:
            self._workers[index] = worker  # known before it is warm, so that close() can interrupt it
            closed = self._closed.is_set()
            self._starts += 1
        if closed:
            raise WorkerFailure("the sandbox was closed")
        missing = worker.warm_up()
        if missing:
            _log.warning("sandbox=%s runs without %s", self.jail, "; ".join(missing))
        return worker

    def _drop(self, index: int) -> None:
        with self._lock:
            worker = self._workers.pop(index, None)
        if worker is not None:
            worker.kill()

    def _settle(self, task: _Task, result: ExecutionResult) -> None:
        with self._lock:
            self._counts[result.status] += 1
            if result.status is not Status.INFRASTRUCTURE:
                self._seconds.append(result.seconds)
        task.future.set_result(result)


def _infrastructure(problem: str, seconds: float) -> ExecutionResult:
    return ExecutionResult(Status.INFRASTRUCTURE, "", problem, seconds)


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0
