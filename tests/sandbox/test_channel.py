"""Attacks on the worker's own channel: descriptors, reports, frames."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from src.sandbox import ExecutionResult, Status, build_sandbox
from src.sandbox.pool import WorkerPool
from tests.sandbox.helpers import cold

Attack = Callable[[str], ExecutionResult]

FORGED = """
import json, os
frame = {"id": NUMBER, "status": "infrastructure", "stdout": "forged", "error": None, "seconds": 0}
body = json.dumps(frame).encode()
for fd in range(256):
    try:
        os.write(fd, len(body).to_bytes(4, "big") + body)
    except OSError:
        pass
"""


def test_frames_are_neither_forged_nor_read(attack: Attack, pool: WorkerPool) -> None:
    for ahead in range(3):
        result = attack(FORGED.replace("NUMBER", str(int(pool.stats()["executions"]) + ahead)))
        assert (result.status, result.error) == (Status.ERROR, "the program wrote over its own report")
    result = attack(
        """
import os
for fd in range(256):
    try:
        os.set_blocking(fd, False)
        data = os.read(fd, 100)
    except OSError:
        continue
    if data:
        print(fd, data)
"""
    )
    assert (result.status, result.stdout) == (Status.OK, "")


def test_frames_on_stdout_are_only_text(attack: Attack) -> None:
    frame = '{"id": 1, "status": "infrastructure", "stdout": "", "error": null, "seconds": 0}'
    result = attack(f"import sys\nx = sys.stdout.write('\\0\\0\\0\\x50' + {frame!r})")
    assert (result.status, result.stdout) == (Status.OK, "\0\0\0\x50" + frame)


@pytest.mark.parametrize("rest", ["", "while True: pass", "import os; os.kill(os.getpid(), 9)", "1/0"])
def test_closing_every_descriptor_hides_nothing(attack: Attack, rest: str) -> None:
    result = attack(f"import os\nos.closerange(0, 256)\n{rest}")
    expected = {"": Status.ERROR, "while True: pass": Status.TIMEOUT, "1/0": Status.ERROR}
    assert result.status is expected.get(rest, Status.KILLED)


def test_a_program_cannot_claim_that_the_sandbox_failed(attack: Attack) -> None:
    for status in ("infrastructure", "timeout", "nonsense", None, 7):
        code = f"import json, os\nos.write(3, json.dumps({{'status': {status!r}, 'error': 'x'}}).encode())"
        result = attack(code + "\nos._exit(0)")
        assert (result.status, result.error) == (Status.ERROR, "x")


WRITE = """
import os
for fd in range(3, 64):
    try:
        os.write(fd, REPORT)
    except OSError:
        pass
"""

REPORTS = {
    "nothing": "b'\\n'",
    "not JSON": "b'hello\\n'",
    "not text": "b'\\xff\\xfe\\n'",
    "a list": "b'[]\\n'",
    "a number": "b'1e999\\n'",
    "an empty object": "b'{}\\n'",
    "half an object": 'b\'{"status": "ok"\'',
    "deeply nested": "b'[' * 60000 + b'\\n'",
    "far too long": "b'x' * 300000 + b'\\n'",
    "a long error": 'b\'{"status": "error", "error": "\' + b\'x\' * 60000 + b\'"}\\n\'',
    "a status of another type": 'b\'{"status": ["ok"], "error": null}\\n\'',
    "an error of another type": 'b\'{"status": "error", "error": {"a": [1]}}\\n\'',
    "a lone surrogate": 'b\'{"status": "error", "error": "\\\\ud800\\\\u0000"}\\n\'',
    "the sandbox's failure": 'b\'{"status": "infrastructure", "error": "x"}\\n\'',
    "a timeout": 'b\'{"status": "timeout", "error": "timed out after 0.8 s"}\\n\'',
    "two at once": 'b\'{"status": "ok", "error": null}\\n\' * 2',
    "that it is confined": "b'C\\n'",
    "frames": "b'\\0\\0\\0\\2{}' * 100",
}


@pytest.mark.parametrize("then", ["os._exit(0)", "while True: pass", "1/0"])
@pytest.mark.parametrize("report", REPORTS)
def test_a_forged_report_is_a_result_about_itself(attack: Attack, report: str, then: str) -> None:
    """Whatever it says: a status that programs can have, in time, and nothing for the next."""
    result = attack("print('mine', flush=True)" + WRITE.replace("REPORT", REPORTS[report]) + then)
    assert (result.status in (Status.OK, Status.ERROR, Status.TIMEOUT), result.stdout) == (True, "mine\n")
    assert result.error is None or len(result.error) < 70_000
    assert result.status is not Status.TIMEOUT or result.seconds > 0.7
    assert result.seconds < 6


@pytest.mark.parametrize("then", ["", "while True: pass"])
def test_an_early_report_buys_no_time(attack: Attack, then: str) -> None:
    """Who says that all is well is believed, unless a second report comes at once; and is gone."""
    early = 'b\'{"status": "ok", "error": null}\\n\''
    result = attack(WRITE.replace("REPORT", early) + f"print('late', flush=True)\n{then}")
    assert result.status in (Status.OK, Status.ERROR, Status.TIMEOUT)
    assert result.seconds < 4


def test_reading_what_the_worker_waits_for_hurts_nobody_else(each_jail: str) -> None:
    """A pipe can be opened again, at its other end; with one child ahead the worker is busy with the next."""
    greedy = """
import os
print([os.read(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK), 1) for fd in (3,)])
"""
    with build_sandbox(cold(jail=each_jail, workers=1, waiting=1)) as sandbox:
        assert isinstance(sandbox, WorkerPool)
        workers = sandbox.pids()
        for _ in range(10):
            result = sandbox.run(greedy)
            assert result.status is Status.ERROR, result
            assert "Error" in (result.error or ""), "nothing to read, or refused"
        assert sandbox.pids() == workers


SWAPS = {
    "output into the report": "os.dup2(3, 1); print('x' * 1000, flush=True)",
    "report into the output": "os.dup2(1, 3)",
    "everything into nothing": "[os.dup2(0, fd) for fd in range(1, 64)]",
    "everything into a file": "f = os.open('f', 66); [os.dup2(f, fd) for fd in range(64) if fd != f]",
    "everything into a pipe of its own": "r, w = os.pipe(); [os.dup2(w, fd) for fd in range(64) if fd != r]",
    "never blocking": "[os.set_blocking(fd, False) for fd in range(64) if is_open(fd)]",
    "the report held by a thread": "threading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
    "copies up to the limit": "[os.dup(3) for _ in range(200)]",
    "all buffers full": "os.set_blocking(1, False); [os.write(1, bytes(4096)) for _ in range(64)]",
}


@pytest.mark.parametrize("way", SWAPS)
def test_juggling_with_descriptors_hurts_nobody_else(attack: Attack, way: str) -> None:
    result = attack(
        f"""
import os, threading, time
def is_open(fd):
    try:
        return os.fstat(fd) is not None
    except OSError:
        return False
{SWAPS[way]}
"""
    )
    assert result.status in (Status.OK, Status.ERROR, Status.TIMEOUT)


def test_a_program_holds_its_own_descriptors_only(attack: Attack) -> None:
    """Nothing, its output, nothing again, and at most two pipes of the worker's: its report, its orders."""
    result = attack(
        """
import os, stat
kinds = []
for fd in range(1024):
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        continue
    kinds.append("pipe" if stat.S_ISFIFO(mode) else "null" if stat.S_ISCHR(mode) else "other")
print(kinds)
"""
    )
    kinds = eval(result.stdout)
    assert kinds[:3] == ["null", "pipe", "null"]
    assert kinds[3:] in (["pipe"], ["pipe", "pipe"])


def test_the_worker_grows_no_descriptors(attack: Attack, pool: WorkerPool) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = count()
    for code in ("print(1)", "1/0", "import os; os._exit(1)"):
        attack(code)
    assert count() == before
