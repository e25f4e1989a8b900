"""Supervises a running child: output, limits, report, exit.

Runs inside the jail, with the standard library only. All data from the child is untrusted.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from src.sandbox.children import Child
from src.sandbox.folders import MOST_ENTRIES, MOST_LEVELS
from src.sandbox.holdings import Holdings
from src.sandbox.program import order
from src.sandbox.zygote import CONFINED, Usage, Zygote

_FIRST_TICK, TICK = 0.004, 0.02  # seconds between checks of threads, CPU time and disk
_CHUNK = 1 << 16
_REPORT_BYTES = 1 << 16
_DYING = 0.2  # seconds to wait for the end of a program that was killed
_FLOOD = 1024  # output beyond this many times the cap ends the program


class ConfinementError(Exception):
    """A child could not confine itself, or cannot be watched."""


@dataclass(frozen=True)
class ProgramEnd:
    """How one program ended; ``alive``: it reported and its process goes on."""

    status: str
    stdout: str
    error: str | None
    seconds: float
    alive: bool


class Supervisor:
    """Watches one child at a time.

    Args:
        limits: as in SandboxConfig.
        requests: the descriptor of the pool's messages.
        interrupted: called when the pool sends a message; returns whether the program must end.
        zygote: that of the children.
        holdings: measures their files.
    """

    def __init__(
        self,
        limits: dict[str, Any],
        requests: int,
        interrupted: Callable[[], bool],
        zygote: Zygote,
        holdings: Holdings,
    ) -> None:
        self._limits, self._requests = limits, requests
        self._interrupted, self._zygote = interrupted, zygote
        self._most_output = limits["output_kb"] * 1024
        self._holdings = holdings
        most = f"{MOST_ENTRIES} files, {MOST_LEVELS} levels or {holdings.most_bytes >> 20} MB"
        self.proved = False  # whether a program could be watched
        self._too_many_files = "killed", f"wrote more than {most}"

    def watch(
        self, child: Child, code: str, wall: float, meanwhile: Callable[[], None] = lambda: None
    ) -> ProgramEnd:
        """Run ``code`` in ``child`` for at most ``wall`` seconds, and kill it when it exceeds a limit.

        ``meanwhile`` is called once it runs. Raises ConfinementError.
        """
        texts = {child.output: bytearray(), child.report: bytearray()}
        caps = {child.output: self._most_output, child.report: _REPORT_BYTES}
        lives_on, used = child.confined, 0.0
        if lives_on:
            self._drain(child, {fd: bytearray() for fd in texts}, caps)  # what its threads left over
            with contextlib.suppress(OSError):  # just gone
                used = _cpu_seconds(child)
        else:
            self._welcome(child)  # before its program, which could read this message itself
        poll = select.poll()
        for fd in (child.report, child.ended, self._requests):
            poll.register(fd, select.POLLIN)
        self._holdings.begin(child)
        started = time.monotonic()
        code_left = memoryview(order(code))
        code_left = code_left[_write(child.orders, code_left) :]
        if code_left:
            poll.register(child.orders, select.POLLOUT)
        if lives_on:
            child.signal(signal.SIGCONT)
        meanwhile()
        pause = _FIRST_TICK  # the first looks are sooner: threads and files are made fast
        deadline, look, swallowed = started + wall, started + pause, 0
        reason: tuple[str, str] | None = None
        let_go = math.inf
        ended = reported = reads_output = False
        while not ended and not reported:
            now = time.monotonic()
            if now >= let_go:
                break
            if reason is None and now >= deadline:
                reason = "timeout", f"timed out after {wall:g} s"
            elif reason is None and now >= look:
                pause = min(2 * pause, TICK)
                reason, look = self.look(child, used), time.monotonic() + pause
                # only now: for a short program the pipe is enough, and each line would wake us
                if not reads_output:
                    poll.register(child.output, select.POLLIN)
                    reads_output = True
            elif reason is None and swallowed > _FLOOD * self._most_output:
                reason = "killed", f"printed more than {_FLOOD * self._limits['output_kb'] // 1024} MB"
            if reason is not None:
                child.signal(signal.SIGKILL)
                let_go = min(let_go, now + _DYING)
            wait = max(min(let_go if reason else deadline, look if not reason else math.inf) - now, 0)
            for fd, _event in poll.poll(wait * 1000):
                if fd == child.ended:
                    ended = True
                elif fd == self._requests:
                    if self._interrupted():
                        reason = "killed", "cancelled by the caller"
                    elif reason is not None:
                        poll.unregister(fd)
                elif fd == child.orders:
                    code_left = code_left[_write(fd, code_left) :]
                    if not code_left:
                        poll.unregister(fd)
                else:
                    count = _read(fd, texts[fd], caps[fd])
                    swallowed += count
                    if not count:
                        poll.unregister(fd)
            reported = reason is None and texts[child.report].endswith(b"\n")
        if not reported:
            usage = child.reap() if ended else None  # else it was killed, and is too large to be gone already
            return self._ended(child, usage, texts, caps, reason, started, used)
        self._drain(child, texts, caps)
        seconds = time.monotonic() - started
        status, error, said = self._judge_report(bytes(texts[child.report]))
        self._holdings.end(child)
        shown = _text(texts[child.output])
        return ProgramEnd(status, shown if shown.strip() else said or shown, error, seconds, alive=True)

    def _ended(
        self,
        child: Child,
        usage: Usage | None,
        texts: dict[int, bytearray],
        caps: dict[int, int],
        reason: tuple[str, str] | None,
        started: float,
        used: float,
    ) -> ProgramEnd:
        """Handle the end of the child, by itself or killed for ``reason``; ``usage`` None: still dying."""
        if not self._zygote.one_process:
            self._sweep()
        self._drain(child, texts, caps)
        seconds = time.monotonic() - started
        reported = bytes(texts[child.report])
        if usage is not None and reason is None:
            status, error = self._judge_end(usage, reported, used)
        else:
            assert reason is not None
            status, error = reason
        return ProgramEnd(status, _text(texts[child.output]), error, seconds, alive=False)

    def _welcome(self, child: Child) -> None:
        """Wait until ``child`` says that it is confined. Raises ConfinementError."""
        poll = select.poll()
        poll.register(child.report, select.POLLIN)
        poll.poll()  # until then, or its end
        said = bytearray()
        _read(child.report, said, _REPORT_BYTES)
        if said != CONFINED:
            raise ConfinementError(_text(said) or f"the child ended with status {child.reap().status}")
        child.confined = True

    def look(self, child: Child, used: float = math.inf) -> tuple[str, str] | None:
        """Return an exceeded limit found by polling, or None.

        ``used``: CPU seconds of earlier programs; without it that limit is not looked at. Raises
        ConfinementError.
        """
        limits = self._limits
        try:
            spent = _cpu_seconds(child) - used
            threads = os.stat(f"/proc/{child.pid}/task").st_nlink - 2
            holds_too_much = self._holdings.too_much(child)
        except OSError as error:
            if not (self.proved or child.has_ended(_DYING)):
                raise ConfinementError(f"the program cannot be watched: {error}") from error
            return None  # just gone, or about to be
        if spent > limits["cpu_seconds"]:
            return "timeout", f"CPU limit of {limits['cpu_seconds']:g} s exceeded"
        if threads > limits["processes"]:
            return "killed", f"more than {limits['processes']} threads"
        if holds_too_much:
            return self._too_many_files
        return None

    def _judge_end(self, usage: Usage, reported: bytes, used: float) -> tuple[str, str | None]:
        """Return status and error of a child that ended itself; ``used``: CPU seconds of earlier programs."""
        limits, code = self._limits, usage.status
        if os.WIFSIGNALED(code):
            number = os.WTERMSIG(code)
            if usage.cpu_seconds - used >= limits["cpu_seconds"]:
                return "timeout", f"CPU limit of {limits['cpu_seconds']:g} s exceeded"
            grown = usage.resident - self._zygote.resident
            if grown > 0.9 * limits["memory_mb"] * 2**20:
                return "memory", f"memory limit of {limits['memory_mb']} MB exceeded"
            return "killed", f"killed by signal {number} ({_signal_name(number)})"
        if reported:
            return self._judge_report(reported)[:2]
        number = os.WEXITSTATUS(code)
        return ("error", f"exited with code {number}") if number else ("ok", None)

    def _judge_report(self, reported: bytes) -> tuple[str, str | None, str]:
        """Return status, error and stderr as the child reports them: at worst it misreports itself."""
        try:
            message = json.loads(reported)
            status, error, said = message["status"], message["error"], str(message.get("stderr", ""))
        except (AttributeError, ValueError, KeyError, TypeError, RecursionError):
            return "error", "the program wrote over its own report", ""
        if status == "memory":
            return "memory", f"memory limit of {self._limits['memory_mb']} MB exceeded", ""
        if status == "ok":
            return "ok", None, _encodable(said)
        return "error", _encodable(str(error)), ""

    def _drain(self, child: Child, texts: dict[int, bytearray], caps: dict[int, int]) -> None:
        """Read the rest of the pipes; bounded in case something continues to write."""
        for fd in (child.output, child.report):
            for _ in range(16):
                if not _read(fd, texts[fd], caps[fd]):
                    break

    def _sweep(self) -> None:
        """Kill and reap descendants that outlived the child; the worker is their subreaper."""
        me = os.getpid()
        while True:
            with open(f"/proc/{me}/task/{me}/children") as file:
                found = {int(pid) for pid in file.read().split()} - {self._zygote.pid}
            if not found:
                return
            for pid in found:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
            time.sleep(0.001)


def _cpu_seconds(child: Child) -> float:
    """CPU time of all its threads: the clock of another process, clock_getcpuclockid(3). Raises OSError."""
    return time.clock_gettime((~child.pid << 3) | 2)


def _write(fd: int, data: memoryview) -> int:
    """Write as much as fits; a dead child is detected elsewhere."""
    try:
        return os.write(fd, data) if data else 0
    except BlockingIOError:
        return 0
    except BrokenPipeError:
        return len(data)


def _read(fd: int, text: bytearray, cap: int) -> int:
    """Append data of ``fd`` to ``text``, up to ``cap`` in total; return how much was read, 0 at the end."""
    try:
        part = os.read(fd, _CHUNK)
    except BlockingIOError:
        return 0
    text += part[: max(cap - len(text), 0)]
    return len(part)


def _text(data: bytearray) -> str:
    return bytes(data).decode("utf-8", errors="replace")


def _encodable(text: str) -> str:
    """Return ``text`` without lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
