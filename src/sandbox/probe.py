"""Tests every lane before it receives programs: it must distinguish outcomes, and enforce isolation."""

from __future__ import annotations

import secrets
import tempfile

from src.config.mounts import Mounts
from src.sandbox.api import ExecutionResult, SandboxError, Status
from src.sandbox.lane import Lane, Order
from src.sandbox.mounts import proof

_WALL = 5.0  # seconds; plenty
_SHORT = 0.2
_DANGER = "do not run model-written code in it; choose another jail with sandbox=..."
_BROKEN = "look at the worker's packages and limits (sandbox.*), or choose another jail with sandbox=..."


def prove(lane: Lane, name: str, *, files: bool, sockets: bool) -> None:
    """Run a correct program, an error, a timeout, and forbidden operations.

    Args:
        lane: the lane to test.
        name: its name in errors.
        files: whether it must hide the user's files.
        sockets: whether it must refuse sockets.

    Raises:
        SandboxError: a test failed; the message names the remedy.
        LaneFailure: the lane died.
    """
    _expect(lane, name, "print(6 * 7)", "a correct program", Status.OK, "42\n", _BROKEN)
    _expect(lane, name, "print(1)\n1/0", "an error", Status.ERROR, "1\n", _BROKEN)
    _expect(lane, name, "while True: pass", "an endless program", Status.TIMEOUT, "", _BROKEN, _SHORT)
    if files:
        secret = secrets.token_hex(16)
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(secret)
            file.flush()
            read = f"print(open({file.name!r}).read())"
            _expect(lane, name, read, "reading a forbidden file", Status.ERROR, "", _DANGER)
    if sockets:
        connect = "import socket\nsocket.socket()\nprint('open')"
        _expect(lane, name, connect, "opening a socket", Status.ERROR, "", _DANGER)


def prove_mounts(lane: Lane, name: str, mounted: Mounts) -> None:
    """Have a program look up its mounted modules and files. Raises as :func:`prove` does."""
    if mounted.modules or mounted.files:
        task, remedy = "reading mounted files", "check sandbox.packages, sandbox.files and their permissions"
        _expect(lane, name, proof(mounted), task, Status.OK, "found\n", remedy)


def _expect(
    lane: Lane, name: str, code: str, what: str, status: Status, stdout: str, remedy: str, wall: float = _WALL
) -> None:
    result = lane.execute(Order(code, wall))
    if (result.status, result.stdout) != (status, stdout):
        expected = ExecutionResult(status, stdout, None, 0.0)
        raise SandboxError(
            f"{name}: {what} gave status {result.status}, output {result.stdout[:100]!r}, error "
            f"{result.error!r} instead of status {expected.status}, output {stdout!r}; {remedy}"
        )
