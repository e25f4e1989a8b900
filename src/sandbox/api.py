"""What callers see of a sandbox: statuses, results, the error, and the interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType


class Status(StrEnum):
    """How one execution ended. Only ``INFRASTRUCTURE`` is not the program's doing."""

    OK = "ok"
    ERROR = "error"  # the program raised, or exited with a code other than 0
    TIMEOUT = "timeout"  # wall or CPU limit
    MEMORY = "memory"
    KILLED = "killed"  # a signal, or another limit (threads, disk, output)
    INFRASTRUCTURE = "infrastructure"  # the sandbox failed twice; says nothing about the program


@dataclass(frozen=True)
class ExecutionResult:
    """One execution.

    ``stdout`` is what the program printed, utf-8 with undecodable bytes replaced, cut at ``output_kb``.
    ``error`` is None when OK; for ERROR the exception's last traceback line; otherwise a short reason.
    ``seconds`` is the wall time of the execution, without queueing.
    """

    status: Status
    stdout: str
    error: str | None
    seconds: float


class SandboxError(RuntimeError):
    """The sandbox cannot start or go on; the message says what to do."""


class Sandbox(ABC):
    """Runs programs, each in a fresh confined process. Use from any thread; close it, or use ``with``."""

    jail: str
    workers: int

    @abstractmethod
    def submit(self, code: str) -> Future[ExecutionResult]:
        """Queue ``code`` and return at once. The future never raises for what the program did.

        Raises SandboxError when the sandbox is closed.
        """

    def run(self, code: str) -> ExecutionResult:
        """Execute ``code`` and wait for its result."""
        return self.submit(code).result()

    @abstractmethod
    def stats(self) -> dict[str, float]:
        """Counters since the start: executions, each status, restarts, queue length, p50 and p95 seconds."""

    @abstractmethod
    def close(self) -> None:
        """Kill and reap every worker; what is still pending ends as ``INFRASTRUCTURE``. Idempotent."""

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
