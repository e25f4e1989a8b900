"""A session between two programs: stopped, whatever its last one did to go on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from src.sandbox import Status, build_sandbox
from src.sandbox.pool import WorkerPool
from tests.sandbox.helpers import cold, eventually, leaves, processor_seconds

BEGIN = """
import ctypes, fcntl, os, signal, struct, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def spin():
    while True: pass
def start(act):
    threading.Thread(target=act, daemon=True).start()
def try_to(act, *arguments):
    try:
        act(*arguments)
    except OSError:
        pass
def again(act, *arguments):
    def forever():
        while True: try_to(act, *arguments)
    start(forever)
"""
WAYS_TO_GO_ON = {
    "threads": "for _ in range(10): start(spin)",
    "signal to oneself": "again(os.kill, os.getpid(), signal.SIGCONT)",
    "several such": "for _ in range(8): again(os.kill, os.getpid(), signal.SIGCONT)",
    "signal to a thread": "again(libc.tgkill, os.getpid(), os.getpid(), signal.SIGCONT)",
    "signal of a thread": "again(signal.pthread_kill, threading.main_thread().ident, signal.SIGCONT)",
    "signal to the group": "again(os.killpg, 0, signal.SIGCONT)",
    "queued signal": "again(libc.sigqueue, os.getpid(), signal.SIGCONT, None)",
    "timer with that signal": "signal.signal(18, lambda *_: None)\n"
    "event, when = struct.pack('Qii48x', 0, 18, 0), struct.pack('4q', 0, 10**7, 0, 2 * 10**8)\n"
    "t = ctypes.c_void_p()\nlibc.timer_create(1, event, ctypes.byref(t)) == 0 and libc.timer_settime("
    "t, 0, when, None)",
    "timer": "signal.signal(14, lambda *_: None)\nsignal.setitimer(0, 1e-3, 1e-3)",
    "timer of processor time": "signal.signal(27, lambda *_: None)\nsignal.setitimer(2, 1e-3, 1e-3)",
    "alarm": "signal.signal(14, lambda *_: None)\nsignal.alarm(1)",
    "descriptor of signals": "signal.pthread_sigmask(0, {14, 18})\nf = libc.signalfd(-1, bytes([0] * 8), 0)\n"
    "signal.setitimer(0, 1e-3, 1e-3)\nagain(os.read, f, 128)",
    "descriptor of time": "f = libc.timerfd_create(1, 0)\n"
    "libc.timerfd_settime(f, 0, struct.pack('4q', 0, 10**6, 0, 10**6), None)\nagain(os.read, f, 8)",
    "news of a pipe": "r, w = os.pipe()\nfor command, value in ((8, os.getpid()), (10, signal.SIGCONT), "
    "(4, os.O_ASYNC)): try_to(fcntl.fcntl, r, command, value)\nagain(os.write, w, b'x')",
    "news by ioctl": "r, w = os.pipe()\ntry_to(fcntl.ioctl, r, 0x8901, struct.pack('i', os.getpid()))\n"
    "try_to(fcntl.ioctl, r, 0x5452, struct.pack('i', 1))",
    "handler": "signal.signal(18, lambda *_: spin())\nsignal.signal(14, lambda *_: spin())\nsignal.alarm(1)",
    "signals blocked": "signal.pthread_sigmask(0, range(1, 65))",
    "pages of zeros": "f = os.open('/dev/urandom', 0)\nb = bytearray(1 << 24)\nagain(os.readv, f, [b] * 60)",
    "death of the parent": "libc.prctl(1, signal.SIGCONT, 0, 0, 0)",
}


@pytest.fixture(scope="module")
def sessions(each_jail: str) -> Iterator[WorkerPool]:
    with build_sandbox(
        cold(jail=each_jail, workers=1, state="session", wall_seconds=3, cpu_seconds=3)
    ) as sandbox:
        assert isinstance(sandbox, WorkerPool)
        yield sandbox


@pytest.mark.parametrize("way", WAYS_TO_GO_ON)
def test_a_session_uses_no_time_between_two_programs(sessions: WorkerPool, way: str) -> None:
    """However often it is looked at, each time its threads stand still."""
    busy = "" if "again(" in WAYS_TO_GO_ON[way] else "start(spin)\n"
    result = sessions.run(f"{BEGIN}{WAYS_TO_GO_ON[way]}\n{busy}print('begun')", trajectory=way)
    assert (result.status, result.stdout) == (Status.OK, "begun\n")
    assert eventually(lambda: processor_seconds(leaves(sessions.pids()), over=0.1) == 0)
    assert processor_seconds(leaves(sessions.pids()), over=0.5) <= 0.02  # 0.5 and more, if one thread ran
    sessions.end(way)
