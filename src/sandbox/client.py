"""The caller's side of one worker process: start it, put a question, get the answer in time, kill it."""

from __future__ import annotations

import os
import select
import time
from typing import Any

from src.config import SandboxConfig
from src.sandbox import protocol
from src.sandbox.api import ExecutionResult, Status
from src.sandbox.jails.base import Jail, worker_modules
from src.sandbox.warm_up import WARM_UP

GRACE = 3.0  # seconds beyond the wall limit before a worker that does not answer counts as hung
_LOG_BYTES = 2000
_LIMITS = ("wall_seconds", "cpu_seconds", "memory_mb", "processes", "file_mb", "output_kb")
_FROM_WORKER = frozenset({Status.OK, Status.ERROR, Status.TIMEOUT, Status.MEMORY, Status.KILLED})


class WorkerFailure(Exception):
    """The worker died, hung or answered nonsense; nothing is known about the program."""


class Worker:
    """One worker process; of use once :meth:`warm_up` has returned. Kill it in the end.

    Raises OSError or SandboxError when it cannot be started.
    """

    def __init__(self, jail: Jail, cfg: SandboxConfig) -> None:
        self._cfg, self._requests = cfg, 0
        self._limits = {name: getattr(cfg, name) for name in _LIMITS}
        launched = jail.launch(self._limits)
        self._process, self._log, self._cleanup = launched.process, launched.log, launched.cleanup
        self._settings = launched.settings
        self.pid = self._process.pid
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._input, False)
        os.set_blocking(self._output, False)

    def warm_up(self) -> list[str]:
        """Hand over the modules and settings, wait until it is warm; the protections that are missing.

        Raises WorkerFailure when it is not ready within ``cfg.start_seconds``.
        """
        settings = {**self._settings, "limits": self._limits, "warm": WARM_UP, "modules": worker_modules()}
        ready = self._exchange(settings, self._cfg.start_seconds)
        if ready.get("ready") is not True:
            raise WorkerFailure(f"it answered {str(ready)[:200]} instead of being ready")
        return list(ready["missing"])

    def execute(self, code: str) -> ExecutionResult:
        """Run ``code`` and wait for its result. Raises WorkerFailure; the worker is then of no more use."""
        self._requests += 1
        answer = self._exchange({"id": self._requests, "code": code}, self._cfg.wall_seconds + GRACE)
        try:
            if answer["id"] != self._requests:
                raise ValueError(f"answer to request {answer['id']} instead of {self._requests}")
            status = Status(answer["status"])
            if status not in _FROM_WORKER:
                raise ValueError(f"status {status}")
            error = answer["error"]
            if not isinstance(answer["stdout"], str) or not isinstance(error, str | None):
                raise ValueError("stdout or error of a wrong type")
            return ExecutionResult(status, answer["stdout"], error, float(answer["seconds"]))
        except (KeyError, TypeError, ValueError) as error:
            raise WorkerFailure(f"nonsense: {error}") from error

    def interrupt(self) -> None:
        """Kill the process from another thread; the thread that uses the worker then sees it fail."""
        self._process.kill()

    def kill(self) -> None:
        """Kill and reap the process with all that is in its jail. Idempotent."""
        if self._process.returncode is None:
            self._process.kill()
            self._process.wait()
        if self._process.stdin is not None and self._process.stdout is not None:
            self._process.stdin.close()
            self._process.stdout.close()
        self._log.close()
        self._cleanup()

    def _exchange(self, message: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Send one frame, receive one, within ``seconds``."""
        deadline = time.monotonic() + seconds
        try:
            data = memoryview(protocol.encode(message))
            while data:
                self._wait(self._input, select.POLLOUT, deadline)
                data = data[os.write(self._input, data[: 1 << 12]) :]  # fits whenever poll says so
            length = protocol.body_length(self._read(protocol.HEADER, deadline))
            return protocol.decode(self._read(length, deadline))
        except OSError as error:
            raise WorkerFailure(f"it died: {error}{self._last_words()}") from error
        except protocol.ProtocolError as error:
            raise WorkerFailure(f"nonsense: {error}") from error

    def _read(self, count: int, deadline: float) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            self._wait(self._output, select.POLLIN, deadline)
            part = os.read(self._output, min(count - len(parts), 1 << 20))
            if not part:
                raise WorkerFailure(f"it died{self._last_words()}")
            parts += part
        return bytes(parts)

    def _wait(self, fd: int, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(fd, event)
        if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
            raise WorkerFailure(f"no answer in time{self._last_words()}")

    def _last_words(self) -> str:
        """What the worker or its jail wrote to stderr, for the message."""
        log = self._log.fileno()
        start = max(os.fstat(log).st_size - _LOG_BYTES, 0)
        words = os.pread(log, _LOG_BYTES, start).decode(errors="replace").strip()
        return f"; it said: {words}" if words else ""
