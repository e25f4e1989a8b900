"""What attacks take from the host, seen from there while they run, against the limits.

A limit holds within a factor: the worker looks at what the kernel does not count every 2.5 to 20 ms.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from src.sandbox import Status, build_sandbox
from src.sandbox.pool import WorkerPool
from tests.sandbox.helpers import cold, descendants, eventually, worker_and_zygote

MEMORY_MB, FILES_MB = 64, 16
LIMITS: dict[str, Any] = {"wall_seconds": 1.2, "cpu_seconds": 0.6, "memory_mb": MEMORY_MB, "processes": 16}
STATES = ["fresh", "session", pytest.param("replay", marks=pytest.mark.long)]


@dataclass
class Taken:
    """What a pool's jails have in use, or the growth of that."""

    resident_mb: float = 0.0  # of all processes
    shared_mb: float = 0.0  # of the machine: in files in memory, with and without a name
    files: int = 0  # inodes of the file system that programs write in
    processes: int = 0
    threads: int = 0
    descriptors: int = 0
    signals: int = 0  # queued, of the user
    cpu_seconds: float = 0.0


# the growth that is allowed: the limit, and the factor for what is used between two looks, or for overhead
MOST = Taken(
    resident_mb=2 * MEMORY_MB,
    shared_mb=2 * (MEMORY_MB + FILES_MB),  # other tests write files, too
    files=20 * 1000,  # an empty one takes microseconds
    processes=4,  # one that runs, and others forked ahead while one is dying
    threads=64 * 16,
    descriptors=2 * 64,
    signals=2 * 64,
    cpu_seconds=3 * 0.6,
)


def taken(pool: WorkerPool) -> Taken:
    """What is in use now. Unreadable processes, of other users, are left out."""
    found = Taken()
    everyone = {pid for root in pool.pids() for pid in (root, *descendants(root))}
    for pid in everyone:
        process = Path(f"/proc/{pid}")
        try:
            status = (process / "status").read_text()
            times = (process / "stat").read_text().rpartition(")")[2].split()[11:15]
            found.descriptors += len(os.listdir(process / "fd"))
        except OSError:
            continue
        found.processes += 1
        resident = re.search(r"VmRSS:\s+(\d+)", status)
        found.resident_mb += int(resident[1]) / 1024 if resident else 0
        found.threads += int(re.findall(r"Threads:\s+(\d+)", status)[0])
        found.signals = max(found.signals, int(re.findall(r"SigQ:\s+(\d+)", status)[0]))
        found.cpu_seconds += sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
    shared = re.findall(r"Shmem:\s+(\d+)", Path("/proc/meminfo").read_text())
    found.shared_mb = int(shared[0]) / 1024
    for pid in everyone:
        place = "/dev/shm" if pool.jail == "sandlock" else f"/proc/{pid}/root/tmp"
        try:
            files = os.statvfs(place)
        except OSError:
            continue
        found.files = max(found.files, files.f_files - files.f_ffree)
    return found


class Sampler:
    """The largest growth of each resource while a ``with`` block runs."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool, self._before, self.most = pool, taken(pool), Taken()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def _sample(self) -> None:
        while not self._done.wait(0.003):
            now = taken(self._pool)
            for field in fields(Taken):
                grown = getattr(now, field.name) - getattr(self._before, field.name)
                setattr(self.most, field.name, max(getattr(self.most, field.name), grown))

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


ATTACKS = {
    "objects": "while True: kept.append(bytes(10**6))",
    "anonymous files": "while True:\n    f = os.memfd_create(''); os.write(f, bytes(10**6)); page(f)",
    "shared memory": "while True:\n    m = mmap.mmap(-1, 10**7)\n    m.write(bytes(10**7))\n"
    "    m.resize(4096)\n    kept.append(m)",
    "shared memory, unmapped but for a page": "while True: page(-1, 10**7, flags=0x8021)",
    "zeros, unmapped but for a page": "f = os.open('/dev/zero', 0)\nwhile True: page(f, 10**7, flags=0x8001)",
    "files": "for i in range(10**6): open(str(i), 'wb').write(bytes(10**6))",
    "small files": "for i in range(10**6): os.close(os.open(str(i), os.O_CREAT))",
    "unlinked files": "while True:\n    f = file(); os.write(f, bytes(10**6)); kept.append(f)",
    "mapped files": "while True:\n    f = file(); os.write(f, bytes(10**6)); page(f)",
    "mapped files, and no first thread": "def fill():\n"
    "    for _ in range(400): f = file(); os.write(f, bytes(10**6)); page(f)\n    time.sleep(60)\n"
    "threading.Thread(target=fill).start()\n"
    "libc.syscall(60 if os.uname().machine == 'x86_64' else 93, 0)",
    "descriptor tables": "def hold():\n    libc.unshare(0x400)\n    libc.close_range(70, 80, 2)\n"
    "    for _ in range(50): os.write(file(), bytes(10**6))\n    time.sleep(60)\n"
    "for _ in range(8): threading.Thread(target=hold).start()",
    "files on the move": "os.makedirs('a/d'); os.mkdir('b')\nfolder = os.open('a/d', 0)\ndef swap():\n"
    "    while True: os.rename('a/d', 'b/d'); os.rename('b/d', 'a/d')\n"
    "threading.Thread(target=swap).start()\n"
    "for i in range(40000):\n"
    "    f = os.open(str(i), 66, dir_fd=folder); os.write(f, bytes(4096)); os.close(f)",
    "threads": "threading.stack_size(32768)\nwhile True: _thread.start_new_thread(time.sleep, (60,))",
    "busy threads": "def spin():\n    while True: sum(range(1000))\n"
    "for _ in range(12): threading.Thread(target=spin).start()",
    "processes": "while True:\n    try: os.fork()\n    except OSError: pass",
    "pipes": "while True: r, w = os.pipe(); os.set_blocking(w, False); os.write(w, bytes(2**16))",
    "signals": "signal.pthread_sigmask(0, range(1, 65))\nfor _ in range(10**5): os.kill(os.getpid(), 40)\n"
    "time.sleep(60)",
    "timers": "for _ in range(10**5): libc.timer_create(1, None, ctypes.byref(ctypes.c_void_p()))",
    "locks": "f = os.open('f', 66)\nfor i in range(0, 10**5, 2): fcntl.lockf(f, 2, 1, i)",
}
BEGIN = """
import _thread, ctypes, fcntl, mmap, os, signal, threading, time
kept, libc = [], ctypes.CDLL(None)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long
libc.munmap.argtypes = ctypes.c_void_p, ctypes.c_size_t
def page(f, length=4096, flags=1):
    # map what `f` has, and keep a page of that alone
    place = libc.mmap(None, length, 1 if f >= 0 else 3, flags, f, 0)
    if place + 1 == 2**64:
        raise MemoryError
    if length > 4096:
        libc.munmap(place + 4096, length - 4096)
    if f >= 0 and length == 4096:
        os.close(f)
def file():
    f = os.open("f", os.O_CREAT | os.O_RDWR)
    os.unlink("f")
    return f
"""


@pytest.fixture(scope="module", params=STATES)
def limited(each_jail: str, request: pytest.FixtureRequest) -> Iterator[WorkerPool]:
    with build_sandbox(cold(jail=each_jail, workers=1, state=request.param, **LIMITS)) as sandbox:
        assert isinstance(sandbox, WorkerPool)
        yield sandbox


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_takes_no_more_than_the_limits(limited: WorkerPool, attack: str) -> None:
    assert limited.run("print(1)", trajectory="modest").stdout == "1\n"
    with Sampler(limited) as sampler:
        result = limited.run(BEGIN + ATTACKS[attack], trajectory=attack)
    limited.end(attack)
    assert result.status is not Status.INFRASTRUCTURE
    for field in fields(Taken):
        assert getattr(sampler.most, field.name) <= getattr(MOST, field.name), (field.name, sampler.most)
    assert limited.run("print(1)", trajectory="modest").stdout == "1\n"


def test_sessions_have_a_memory_in_common(each_jail: str) -> None:
    """The oldest end when all together have too much; what they had is there again when it is needed."""
    with build_sandbox(
        cold(jail=each_jail, workers=1, state="session", sessions_mb=128, memory_mb=128)
    ) as sandbox:
        assert isinstance(sandbox, WorkerPool)
        sandbox.run("print(1)")
        before = taken(sandbox).resident_mb
        for number in range(12):
            code = f"x = bytearray(b'{number % 10}') * (40 << 20)"
            assert sandbox.run(code, trajectory=str(number)).status is Status.OK
        assert eventually(lambda: taken(sandbox).resident_mb - before < 2 * 128)
        assert taken(sandbox).resident_mb - before > 40  # the youngest live
        for number in (0, 11):
            result = sandbox.run("print(chr(x[0]), len(x) >> 20)", trajectory=str(number))
            assert (result.status, result.stdout) == (Status.OK, f"{number % 10} 40\n")


HEADLESS = """
import ctypes, os, threading, time
def hold():
    kept = bytearray(b"x") * (40 << 20)
    os.write(3, b'{"status": "ok", "error": null}\\n')
    time.sleep(60)
threading.Thread(target=hold).start()
ctypes.CDLL(None).syscall(60 if os.uname().machine == "x86_64" else 93, 0)
"""


def test_a_session_cannot_hide_its_memory_by_ending_its_first_thread(each_jail: str) -> None:
    with build_sandbox(
        cold(jail=each_jail, workers=1, state="session", sessions_mb=96, memory_mb=128)
    ) as sandbox:
        assert isinstance(sandbox, WorkerPool)
        sandbox.run("print(1)")
        _worker, zygote = worker_and_zygote(sandbox.pids()[0])
        for number in range(6):
            assert sandbox.run(HEADLESS, trajectory=str(number)).status is Status.OK

        def large() -> int:
            """Processes with more than 40 MB, whichever of their threads live."""
            found = set()
            for pid in Path(f"/proc/{zygote}/task/{zygote}/children").read_text().split():
                for status in Path(f"/proc/{pid}/task").glob("*/status"):
                    with contextlib.suppress(OSError):  # ended meanwhile
                        resident = re.search(r"VmRSS:\s+(\d+)", status.read_text())
                        if resident and int(resident[1]) > 40 << 10:
                            found.add(pid)
            return len(found)

        assert eventually(lambda: 0 < large() <= 2)
