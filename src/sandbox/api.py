"""The public interface of a sandbox: statuses, results, errors."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType


class Status(StrEnum):
    """How an execution ended. Only ``INFRASTRUCTURE`` is not caused by the program."""

    OK = "ok"
    ERROR = "error"  # the program raised, or exited with a code other than 0
    TIMEOUT = "timeout"  # wall or CPU limit
    MEMORY = "memory"
    KILLED = "killed"  # a signal, or another limit (threads, disk, output)
    INFRASTRUCTURE = "infrastructure"  # the sandbox failed twice; not caused by the program


@dataclass(frozen=True, slots=True)
class ExecutionResult:
    """One execution.

    ``stdout`` is what the program printed, utf-8 with undecodable bytes replaced, cut at ``output_kb``; if
    that is blank, and the program ended well, what it wrote to ``sys.stderr``, cut in its middle.
    ``error`` is None when OK; for ERROR the exception's last traceback line; otherwise a short reason.
    ``seconds`` is the wall time of the execution, without queueing; ``replay_seconds`` that of running
    earlier programs of the trajectory again before it. ``kept``: it failed, but later programs of its
    trajectory find what it had defined (``sandbox.undo=false``).
    """

    status: Status
    stdout: str
    error: str | None
    seconds: float
    replay_seconds: float = 0.0
    kept: bool = False

    @property
    def output(self) -> str:
        """The output of the execution, or the last line of its exception."""
        if self.status is Status.OK:
            return self.stdout.strip() or "no output"
        return (self.error or str(self.status)).strip()


def printable(text: str) -> str:
    """Return ``text`` for logs and terminals: control characters but line breaks and tabs are written out."""
    return "".join(
        char if char in "\n\t" or char.isprintable() else char.encode("unicode_escape").decode()
        for char in text
    )


class QueueFull(Exception):
    """The queue is full and the caller did not want to wait."""


class SandboxError(RuntimeError):
    """The sandbox cannot start or continue; the message names the remedy."""


class InfrastructureError(SandboxError):
    """Too many trajectories of a step or an evaluation were lost to the infrastructure."""


class Sandbox(ABC):
    """Runs programs, each confined. Use from any thread or event loop; close it, or use ``with``.

    ``trajectory`` is the trajectory of a program: trajectories take turns, so that one with many programs
    does not delay the others, and with ``sandbox.state`` other than ``fresh`` the programs of a trajectory
    run one after another and share state.
    """

    jail: str
    workers: int

    @abstractmethod
    def submit(
        self, code: str, *, trajectory: str | None = None, within: float | None = None, block: bool = True
    ) -> Future[ExecutionResult]:
        """Queue ``code``; the future does not raise for errors of the program.

        Args:
            code: the program.
            trajectory: id of the trajectory; None: of its own.
            within: seconds from now after which a program that has not begun is ``INFRASTRUCTURE``; None: it
                waits for as long as others are served (see ``sandbox.deadline_seconds``).
            block: wait while the queue is full; otherwise raise :class:`QueueFull`.

        Cancelling the future removes the program from the queue; see also :meth:`cancel`. Raises SandboxError
        if the sandbox is closed.
        """

    def run(
        self, code: str, *, trajectory: str | None = None, within: float | None = None
    ) -> ExecutionResult:
        """Execute ``code`` and wait for its result."""
        return self.submit(code, trajectory=trajectory, within=within).result()

    async def arun(
        self, code: str, *, trajectory: str | None = None, within: float | None = None
    ) -> ExecutionResult:
        """Like :meth:`run`, for asyncio: cancelling the awaiting task ends the program."""
        try:
            future = self.submit(code, trajectory=trajectory, within=within, block=False)
        except QueueFull:
            future = await asyncio.to_thread(self.submit, code, trajectory=trajectory, within=within)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            self.cancel(future)
            raise

    def cancel(self, future: Future[ExecutionResult]) -> None:
        """Remove a queued program, or end a running one, whose result is then ``KILLED``."""
        future.cancel()

    def end(self, trajectory: str) -> None:  # noqa: B027 - nothing to forget is fine
        """Discard the state of ``trajectory``, which will not run another program."""

    @abstractmethod
    def stats(self) -> dict[str, float]:
        """Statistics since the start, by name.

        ``executions``, the count of each status, ``restarts``, ``queue`` (current length);
        ``replay_seconds``, spent in all on running earlier programs again; ``p50_seconds``, ``p95_seconds``,
        ``p99_seconds`` of executions, and ``queued_p50_seconds`` etc. of their waiting times.
        """

    @abstractmethod
    def close(self) -> None:
        """Kill and reap every worker; pending programs end as ``INFRASTRUCTURE``. Idempotent."""

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
