"""Grades answers in child processes, which are killed at a hard time limit.

On some inputs math-verify never returns, in code that neither exceptions nor signal handlers interrupt, and
its own timeouts work in a main thread only. Therefore every comparison runs in a child process that can be
killed and replaced. Not guaranteed: the child is not a sandbox. It parses untrusted text with the user's
rights, but never evaluates it as Python.
"""

from __future__ import annotations

import json
import math
import os
import queue
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from src.config.paths import ROOT
from src.rewards.literals import plain_number

_PASSED_ON = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
_START_SECONDS = 60.0
_ALARM_MARGIN = 2.0  # seconds beyond the limit after which a child kills itself, in case its parent is gone
_LONGEST = 4000  # characters; a longer answer is correct only if it is the gold answer itself
_CACHED = 1 << 16
_MOST_TIMEOUTS = 3  # a pair that reached the time limit so often is not tried again
GRADERS = ("exact", "math_verify")


class GraderError(RuntimeError):
    """A grading process cannot be started, or the grader is closed."""


@dataclass(frozen=True)
class Grade:
    """Whether an answer is equivalent to the gold answer.

    Attributes:
        correct: they are equivalent.
        failure: why they could not be compared (then ``correct`` is False): ``timeout`` (killed at the time
            limit; twice, if it had hardly any CPU time), ``crash`` (two children died on it) or ``error`` (an
            exception in a library).
    """

    correct: bool
    failure: str | None = None


class _Stopped(Exception):
    """A child is no longer usable: it reached the time limit, or (``died``) it ended by itself."""

    def __init__(self, *, died: bool) -> None:
        super().__init__()
        self.died = died


class _Child:
    """One grading process, used by one thread at a time."""

    def __init__(self, memory_mb: int, alarm_seconds: float, mode: str) -> None:
        self._resources = ExitStack()
        self._errors = self._resources.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        # The order of sympy's terms, and thereby a result, may depend on the hash seed.
        environment["PYTHONHASHSEED"] = "0"
        arguments = [str(os.getpid()), str(memory_mb), str(alarm_seconds), mode]
        self._process = self._resources.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "src.rewards.grading_child", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=environment,
                cwd=ROOT,
                bufsize=0,
                start_new_session=True,  # Ctrl-C in a terminal reaches only the caller
            )
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._replies = self._process.stdin, self._process.stdout
        self._ready = False
        self._used = 0.0  # CPU seconds when it was last asked

    @property
    def lost(self) -> bool:
        """Whether it has ended since its last reply."""
        return self._ready and self._process.poll() is not None

    def ask(self, gold: str, answer: str | None, seconds: float) -> dict[str, Any]:
        """Return the child's reply. Raises: _Stopped; GraderError if the child could not start."""
        if not self._ready:
            try:
                self._receive(_START_SECONDS)
            except _Stopped as stopped:
                self._errors.seek(0)
                tail = self._errors.read().decode(errors="replace").strip()[-1000:]
                reason = "it ended" if stopped.died else f"it was not ready after {_START_SECONDS:g} s"
                raise GraderError(f"a grading process could not start: {reason}. {tail}") from None
            self._ready = True
        self._used = self._cpu_seconds()
        try:
            self._requests.write(json.dumps([gold, answer]).encode() + b"\n")
        except OSError:
            raise _Stopped(died=True) from None
        return self._receive(seconds)

    def _receive(self, seconds: float) -> Any:
        deadline = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self._replies, select.POLLIN)
        data = b""
        while not data.endswith(b"\n"):
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise _Stopped(died=False)
            chunk = os.read(self._replies.fileno(), 1 << 16)
            if not chunk:
                raise _Stopped(died=True)
            data += chunk
        return json.loads(data)

    def starved(self, seconds: float) -> bool:
        """Whether it has had less than half of ``seconds`` of CPU time since it was last asked."""
        return self._cpu_seconds() - self._used < seconds / 2

    def _cpu_seconds(self) -> float:
        try:
            with open(f"/proc/{self._process.pid}/stat", "rb") as file:
                used = file.read().rpartition(b")")[2].split()[11:13]
        except OSError:
            return math.inf  # the system does not tell
        return sum(map(int, used)) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the process and release its pipes."""
        self.kill()
        self._resources.close()


class Grader:
    """A pool of grading processes, to be used as a context manager, from any thread.

    The processes start at once and load their libraries in the background. A pair that reached the time limit
    is tried again when it is asked for again, three times at most: the machine may have been busy.

    Args:
        workers: number of processes.
        seconds: wall-clock limit per pair; a grading that takes longer is killed.
        mode: ``exact`` (src/rewards/equivalence.py) or ``math_verify`` (src/rewards/released.py).
        memory_mb: address space of a process.
    """

    def __init__(self, workers: int, seconds: float, *, mode: str = "exact", memory_mb: int = 1024) -> None:
        if mode not in GRADERS:
            raise ValueError(f"mode={mode!r}: choose one of {', '.join(GRADERS)}")
        self._seconds, self._memory_mb, self._mode = seconds, memory_mb, mode
        self._lock = threading.Lock()
        self._closed = False
        self._cache: OrderedDict[tuple[str, str], Grade] = OrderedDict()
        self._timeouts: Counter[tuple[str, str]] = Counter()
        self._counts: Counter[str] = Counter()
        self._children: set[_Child] = set()
        self._idle: queue.SimpleQueue[_Child] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="grader")
        for _ in range(workers):
            self._start_child()

    def __enter__(self) -> Grader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def grade(self, pairs: Sequence[tuple[str, str | None]]) -> list[Grade]:
        """Return the grade of each pair ``(gold answer, answer)``, in order; None is never correct.

        Raises:
            GraderError: the grading processes cannot be started, or the grader is closed.
        """
        futures = {pair: self.submit(*pair) for pair in dict.fromkeys(pairs)}
        grades = {pair: future.result() for pair, future in futures.items()}
        return [grades[pair] for pair in pairs]

    def submit(self, gold: str, answer: str | None) -> Future[Grade]:
        """Return a future of the grade of one pair; its result may raise GraderError."""
        known = self._at_once(gold, answer)
        if known is not None or answer is None:
            future: Future[Grade] = Future()
            future.set_result(known or Grade(False))
            return future
        try:
            return self._threads.submit(self._in_child, gold, answer)
        except RuntimeError:
            raise GraderError("the grader is closed") from None

    def readable(self, golds: Sequence[str]) -> list[bool]:
        """Return whether each gold answer can be parsed. Raises: GraderError."""
        return [grade.correct for grade in self._threads.map(lambda gold: self._compare(gold, None), golds)]

    def stats(self) -> dict[str, int]:
        """Counts since the start: pairs ``compared`` in a child, ``timeout``, ``crash`` and ``error``."""
        with self._lock:
            return {name: self._counts[name] for name in ("compared", "timeout", "crash", "error")}

    def close(self) -> None:
        """End all grading processes; gradings in progress raise GraderError."""
        with self._lock:
            self._closed = True
            for child in self._children:
                child.kill()
        self._threads.shutdown(cancel_futures=True)
        with self._lock:
            for child in self._children:
                child.close()
            self._children.clear()

    def _start_child(self) -> None:
        with self._lock:
            if self._closed:
                raise GraderError("the grader is closed")
            child = _Child(self._memory_mb, self._seconds + _ALARM_MARGIN, self._mode)
            self._children.add(child)
        self._idle.put(child)

    def _replace(self, child: _Child) -> None:
        with self._lock:
            if not self._closed:
                self._children.discard(child)
                child.close()
        self._start_child()

    def _at_once(self, gold: str, answer: str | None) -> Grade | None:
        """Return the grade if it is cached or needs no computer algebra; otherwise None."""
        if answer is None or not answer.strip():
            return Grade(False)
        if self._mode == "exact":  # math-verify's verdicts on these differ: it rounds, and may not parse
            if answer.strip() == gold.strip():
                return Grade(True)
            numbers = plain_number(gold), plain_number(answer)
            if numbers[0] is not None and numbers[1] is not None:
                return Grade(numbers[0] == numbers[1])
        if len(answer) > _LONGEST:
            return Grade(False)
        with self._lock:
            known = self._cache.get((gold, answer))
            if known is not None:
                self._cache.move_to_end((gold, answer))
            return known

    def _in_child(self, gold: str, answer: str) -> Grade:
        known = self._at_once(gold, answer)  # may be cached since it was submitted
        if known is not None:
            return known
        pair, grade = (gold, answer), self._compare(gold, answer)
        with self._lock:
            self._counts["compared"] += 1
            if grade.failure:
                self._counts[grade.failure] += 1
            if grade.failure == "timeout" and not self._is_final_timeout(pair):
                return grade
            self._cache[pair] = grade
            if len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
        return grade

    def _is_final_timeout(self, pair: tuple[str, str]) -> bool:
        """Count a timeout; return whether the pair has now had its last try."""
        self._timeouts[pair] += 1
        if self._timeouts[pair] >= _MOST_TIMEOUTS:
            del self._timeouts[pair]
            return True
        if len(self._timeouts) > _CACHED:
            del self._timeouts[next(iter(self._timeouts))]
        return False

    def _compare(self, gold: str, answer: str | None) -> Grade:
        tries, failure = 0, "crash"
        while tries < 2:  # a child that died, or had no CPU time, is replaced, and the pair retried once
            child = self._idle.get()
            if child.lost:  # it died while idle: not caused by this pair
                self._replace(child)
                continue
            tries += 1
            try:
                reply = child.ask(gold, answer, self._seconds)
            except GraderError:
                self._replace(child)
                if tries == 2:
                    raise
            except _Stopped as stopped:
                starved = child.starved(self._seconds)  # stopped, or too busy a machine
                self._replace(child)
                failure = "crash" if stopped.died else "timeout"
                if not stopped.died and not starved:
                    break
            else:
                if reply["retire"]:
                    self._replace(child)
                else:
                    self._idle.put(child)
                return Grade(reply["equivalent"], "error" if reply["error"] else None)
        return Grade(False, failure)
