"""How the worker watches a running child: output, limits, the end, and leaving nothing behind.

Runs inside the jail, with the standard library only. Everything that comes from the child is distrusted.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import time
from typing import Any

CONFINED = b"C"  # first byte of every report: written by our code, before the program runs
TICK = 0.02  # seconds between looks at threads, CPU time and disk
_CHUNK = 1 << 16
_REPORT_BYTES = 1 << 16
_FLOOD = 1024  # output beyond this many times the cap ends the program
_ENTRIES = 1000  # files a program may keep
_FILES_OF_FULL_SIZE = 16
_DEPTH = 32


class ConfinementError(Exception):
    """A child could not confine itself, or cannot be watched."""


def empty(folder: str) -> None:
    """Remove everything in ``folder``, however deep, whatever its permissions, following no link."""
    counter = 0
    while True:
        with os.scandir(folder) as entries:
            found = list(entries)
        if not found:
            return
        for entry in found:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            os.chmod(entry.path, 0o700)
            with os.scandir(entry.path) as entries:
                inner = list(entries)
            for item in inner:  # a level up instead of recursion: no depth is too deep
                if item.is_dir(follow_symlinks=False):
                    os.chmod(item.path, 0o700)  # moving a directory needs the right to write it
                    counter += 1
                    os.rename(item.path, os.path.join(folder, f".{time.monotonic_ns()}.{counter}"))
                else:
                    os.unlink(item.path)
            os.rmdir(entry.path)


def holds_too_much(folder: str, most_bytes: int) -> bool:
    """Whether ``folder`` has more files, bytes or levels than a program may keep."""
    total, count, waiting = 0, 0, [(folder, 0)]
    while waiting:
        path, depth = waiting.pop()
        if depth > _DEPTH:  # Landlock looks at every level: a deep path takes the worker seconds
            return True
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    count += 1
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if count > _ENTRIES or total > most_bytes:
                        return True
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((entry.path, depth + 1))
        except FileNotFoundError:
            continue  # the program is still at work
        except OSError:
            return True  # closed to us: not what an honest program does
    return False


class Supervisor:
    """Watches one child at a time. ``limits`` as in SandboxConfig; ``requests`` is the pool's end."""

    def __init__(self, limits: dict[str, Any], work: str, requests: int) -> None:
        self._limits, self._work, self._requests = limits, work, requests
        self._most_output = limits["output_kb"] * 1024
        self._most_disk = int(limits["file_mb"] * _FILES_OF_FULL_SIZE * 2**20)
        self._resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def watch(self, child: int, output: int, report: int, started: float) -> dict[str, Any] | None:
        """Follow ``child`` to its end and kill it when it is over a limit.

        The answer without its id; None when the pool closed its end. Raises ConfinementError.
        """
        texts = {output: bytearray(), report: bytearray()}
        caps = {output: self._most_output, report: _REPORT_BYTES}
        end = os.pidfd_open(child)
        poll = select.poll()
        for fd in (output, report, end):
            poll.register(fd, select.POLLIN)
            os.set_blocking(fd, False)
        poll.register(self._requests, 0)  # only its end
        deadline = started + self._limits["wall_seconds"]
        look, swallowed = started + TICK, 0
        reason: tuple[str, str] | None = None
        ended = False
        try:
            while not ended:
                now = time.monotonic()
                if reason is None and now >= deadline:
                    reason = "timeout", f"timed out after {self._limits['wall_seconds']:g} s"
                elif reason is None and now >= look:
                    reason, look = self._look(child), time.monotonic() + TICK
                elif reason is None and swallowed > _FLOOD * self._most_output:
                    reason = "killed", f"printed more than {_FLOOD * self._limits['output_kb'] // 1024} MB"
                if reason is not None:
                    self._kill(child)
                wait = 1.0 if reason else max(min(deadline, look) - now, 0)
                for fd, _event in poll.poll(wait * 1000):
                    if fd == end:
                        ended = True
                    elif fd == self._requests:
                        self._kill(child)
                        os.waitpid(child, 0)
                        return None
                    else:
                        count = _read(fd, texts[fd], caps[fd])
                        swallowed += count
                        if not count:
                            poll.unregister(fd)
        finally:
            os.close(end)
        _pid, code, usage = os.wait4(child, 0)
        self._sweep()
        for fd in (output, report):
            for _ in range(16):  # what the pipe still held; bounded, should another process hold the end
                if not _read(fd, texts[fd], caps[fd]):
                    break
        seconds = time.monotonic() - started
        said = bytes(texts[report])
        if not said.startswith(CONFINED) and reason is None:
            raise ConfinementError(said.decode(errors="replace") or f"the child ended with status {code}")
        status, error = reason or self._judge(code, usage, said[1:])
        stdout = bytes(texts[output]).decode("utf-8", errors="replace")
        return {"status": status, "stdout": stdout, "error": error, "seconds": seconds}

    def _look(self, child: int) -> tuple[str, str] | None:
        """A limit that only looking reveals, or None."""
        limits = self._limits
        try:
            used = time.clock_gettime(
                (~child << 3) | 2
            )  # CPU clock of another process, clock_getcpuclockid(3)
            threads = os.stat(f"/proc/{child}/task").st_nlink - 2
        except OSError as error:
            if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                raise ConfinementError(f"the program cannot be watched: {error}") from error
            return None  # just gone
        if used > limits["cpu_seconds"]:
            return "timeout", f"CPU limit of {limits['cpu_seconds']:g} s exceeded"
        if threads > limits["processes"]:
            return "killed", f"more than {limits['processes']} threads"
        if holds_too_much(self._work, self._most_disk):
            return (
                "killed",
                f"wrote more than {_ENTRIES} files, {_DEPTH} levels or {self._most_disk >> 20} MB",
            )
        return None

    def _judge(self, code: int, usage: resource.struct_rusage, said: bytes) -> tuple[str, str | None]:
        """Status and error of a child that ended by itself."""
        limits = self._limits
        if os.WIFSIGNALED(code):
            number = os.WTERMSIG(code)
            if usage.ru_utime + usage.ru_stime >= limits["cpu_seconds"]:
                return "timeout", f"CPU limit of {limits['cpu_seconds']:g} s exceeded"
            grown = usage.ru_maxrss * 1024 - self._resident
            if grown > 0.9 * limits["memory_mb"] * 2**20:
                return "memory", f"memory limit of {limits['memory_mb']} MB exceeded"
            return "killed", f"killed by signal {number} ({_signal_name(number)})"
        if not said:
            number = os.WEXITSTATUS(code)
            return ("error", f"exited with code {number}") if number else ("ok", None)
        try:
            message = json.loads(said)
            status, error = message["status"], message["error"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return "error", "the program wrote over its own report"
        if status == "memory":
            return "memory", f"memory limit of {limits['memory_mb']} MB exceeded"
        if status == "ok":
            return "ok", None
        return "error", str(error).encode("utf-8", "backslashreplace").decode()  # no lone surrogates

    def tidy(self) -> None:
        """An empty working directory for the next program, the same one, since a Landlock rule names it.

        Without Landlock a program may have replaced it, or written beside it.
        """
        if os.path.islink(self._work) or not os.path.isdir(self._work):
            if os.path.lexists(self._work):
                os.unlink(self._work)
            os.mkdir(self._work)
        os.chmod(self._work, 0o700)
        scratch = os.path.dirname(self._work)
        for name in os.listdir(scratch):
            if name != os.path.basename(self._work):
                os.rename(os.path.join(scratch, name), os.path.join(self._work, name))
        empty(self._work)

    def _kill(self, child: int) -> None:
        for kill in (os.kill, os.killpg):
            with contextlib.suppress(
                ProcessLookupError, PermissionError
            ):  # gone, or no leader of a group yet
                kill(child, signal.SIGKILL)

    def _sweep(self) -> None:
        """Kill and reap descendants that outlived the child; the worker is their subreaper."""
        while True:
            try:
                if os.waitpid(-1, os.WNOHANG)[0]:
                    continue
            except ChildProcessError:
                return
            me = os.getpid()
            with open(f"/proc/{me}/task/{me}/children") as file:
                for pid in file.read().split():
                    self._kill(int(pid))
            time.sleep(0.001)


def _read(fd: int, text: bytearray, cap: int) -> int:
    """Append what ``fd`` has to ``text``, up to ``cap`` in all; how much was read, 0 at the end."""
    try:
        part = os.read(fd, _CHUNK)
    except BlockingIOError:
        return 0
    text += part[: max(cap - len(text), 0)]
    return len(part)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
