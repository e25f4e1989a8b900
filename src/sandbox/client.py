"""The caller's side of a worker process: start it, send requests, receive answers in time, kill it."""

from __future__ import annotations

import contextlib
import select
import threading
import time
from typing import Any

from src.config import SandboxConfig
from src.sandbox import protocol
from src.sandbox.api import ExecutionResult, Status, printable
from src.sandbox.jails.base import Jail, worker_modules
from src.sandbox.lane import Lane, LaneFailure, LaneGone, Order, ProgramLost
from src.sandbox.probe import prove, prove_mounts
from src.sandbox.warm_up import statements

GRACE = 3.0  # seconds beyond the wall limit before a worker that does not answer counts as hung
_LIMITS = ("wall_seconds", "cpu_seconds", "memory_mb", "processes", "file_mb", "output_kb")
_FROM_WORKER = frozenset({Status.OK, Status.ERROR, Status.TIMEOUT, Status.MEMORY, Status.KILLED})


class WorkerClient(Lane):
    """One worker process in a jail. Raises OSError or SandboxError when it cannot be launched."""

    def __init__(self, jail: Jail, cfg: SandboxConfig) -> None:
        self._jail, self._cfg, self._requests = jail, cfg, 0
        self._running: Order | None = None  # the last one that was sent
        self._cancelled: Order | None = None
        self._closed = False
        self._sending = threading.Lock()
        self._limits = {name: getattr(cfg, name) for name in _LIMITS}
        self._launched = jail.launch(self._limits)
        self._channel = self._launched.channel

    @property
    def pid(self) -> int:
        """See Lane.pid."""
        return self._launched.pid

    def start(self) -> list[str]:
        """Send modules and settings, and wait until the worker is warm. See Lane.start."""
        settings = {
            **self._launched.settings,
            "limits": self._limits,
            "state": self._cfg.state,
            "echo": self._cfg.echo,
            "undo": self._cfg.undo,
            "waiting": self._cfg.waiting,
            "sessions": self._cfg.sessions,
            "sessions_mb": self._cfg.sessions_mb,
            "warm": statements(self._cfg.warm),
            "modules": worker_modules(),
        }
        deadline = time.monotonic() + self._cfg.start_seconds
        self._send(settings, deadline)
        ready = self._receive(deadline)
        if ready.get("ready") is not True:
            raise LaneFailure(f"it answered {str(ready)[:200]} instead of being ready")
        prove(self, self._jail.name, files=self._jail.isolates_files, sockets=self._jail.isolates_files)
        prove_mounts(self, self._jail.name, self._jail.mounts)
        return list(ready["missing"])

    def execute(self, order: Order) -> ExecutionResult:
        """See Lane.execute."""
        self._check_alive()
        self._requests += 1
        request = {
            "id": self._requests,
            "code": order.code,
            "wall": order.wall_seconds,
            "trajectory": order.trajectory,
            "history": [(one.code, one.wall_seconds, one.failed) for one in order.history],
        }
        deadline = time.monotonic() + order.longest_seconds + GRACE
        self._send(request, deadline)
        self._running = order
        if self._cancelled is order:  # before the worker had received it
            self._tell({"cancel": self._requests})
        try:
            return self._result(self._receive(deadline))
        except LaneFailure as error:
            raise ProgramLost(str(error)) from error

    def cancel(self, order: Order) -> None:
        """See Lane.cancel."""
        self._cancelled = order
        if self._running is order:
            self._tell({"cancel": self._requests})

    def forget(self, trajectory: str) -> None:
        """See Lane.forget."""
        if self._cfg.state == "session":
            self._tell({"forget": trajectory})

    def interrupt(self) -> None:
        """See Lane.interrupt."""
        self._launched.interrupt()

    def close(self) -> None:
        """See Lane.close."""
        self._launched.interrupt()  # senders then stop
        with self._sending:
            self._closed = True  # its descriptors may become those of another file
            self._launched.close()

    def _result(self, answer: dict[str, Any]) -> ExecutionResult:
        try:
            if answer["id"] != self._requests:
                raise ValueError(f"answer to request {answer['id']} instead of {self._requests}")
            status = Status(answer["status"])
            if status not in _FROM_WORKER:
                raise ValueError(f"status {status}")
            error = answer["error"]
            if not isinstance(answer["stdout"], str) or not isinstance(error, str | None):
                raise ValueError("stdout or error of a wrong type")
            seconds, replayed = float(answer["seconds"]), float(answer["replay_seconds"])
            kept = answer.get("kept") is True
            return ExecutionResult(status, answer["stdout"], error, seconds, replayed, kept)
        except (KeyError, TypeError, ValueError) as error:
            raise LaneFailure(f"nonsense: {error}") from error

    def _tell(self, message: dict[str, Any]) -> None:
        """Send a message that has no answer, from another thread; ignored if the worker is gone."""
        with contextlib.suppress(LaneFailure):
            self._send(message, time.monotonic() + GRACE)

    def _send(self, message: dict[str, Any], deadline: float) -> None:
        try:
            data = memoryview(protocol.encode(message))
            with self._sending:
                if self._closed:
                    raise LaneFailure("it was closed")
                while data:
                    self._wait(self._channel.input, select.POLLOUT, deadline)
                    data = data[self._channel.write(data) :]
        except OSError as error:
            raise LaneFailure(f"it died: {error}{self._last_words()}") from error
        except protocol.ProtocolError as error:
            raise LaneFailure(f"nonsense: {error}") from error

    def _receive(self, deadline: float) -> dict[str, Any]:
        try:
            length = protocol.body_length(self._read(protocol.HEADER, deadline))
            return protocol.decode(self._read(length, deadline))
        except OSError as error:
            raise LaneFailure(f"it died: {error}{self._last_words()}") from error
        except protocol.ProtocolError as error:
            raise LaneFailure(f"nonsense: {error}") from error

    def _read(self, count: int, deadline: float) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            try:
                part = self._channel.read(min(count - len(parts), 1 << 20))
            except BlockingIOError:
                self._wait(self._channel.output, select.POLLIN, deadline)
                continue
            if not part:
                raise LaneFailure(f"it died{self._last_words()}")
            parts += part
        return bytes(parts)

    def _wait(self, fd: int, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(fd, event)
        if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
            raise LaneFailure(f"no answer in time{self._last_words()}")

    def _check_alive(self) -> None:
        """Raise LaneGone if the worker died, or sent a message, without a request."""
        with contextlib.suppress(BlockingIOError):
            data = self._channel.read(1)
            reason = "sent a message without a request" if data else "had died"
            raise LaneGone(f"it {reason}{self._last_words()}")

    def _last_words(self) -> str:
        words = printable(self._launched.last_words())
        return f"; its last output: {words}" if words else ""
