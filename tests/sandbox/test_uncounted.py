"""What no limit of a process counts, or what reaches beyond it: refused, or without effect."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable

import pytest

from src.sandbox import ExecutionResult, Status
from src.sandbox.pool import WorkerPool

Attack = Callable[[str], ExecutionResult]

UNCOUNTED = {  # ways to memory, or to descriptors, that no limit of a process counts
    "anonymous file": "os.memfd_create('')",
    "file that never had a name": "os.open('.', os.O_TMPFILE | os.O_RDWR)",
    "its flags out of sight": "call(437, -100, b'.', struct.pack('QQQ', os.O_TMPFILE | 2, 0o600, 0), 24)",
    "memory shared with nobody": "mmap.mmap(-1, 4096, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)",
    "the same as a device": "mmap.mmap(os.open('/dev/zero', os.O_RDONLY), 4096, prot=1)",
    "the same by another call": "call(9 if X86 else 222, 0, 4096, 3, 0x21, -1, 0)",
    "descriptors of a thread's own": "call(436, 60, 61, 2)",
    "and by unsharing": "call(272 if X86 else 97, 0x400)",
    "longer queue in a pipe": "fcntl.fcntl(1, 1031, 1 << 20)",
}
for name, flag in {"MEMORY": 0x100, "FOLDER": 0x200, "DESCRIPTORS": 0x400, "HANDLERS": 0x800}.items():
    UNCOUNTED[f"thread without our {name.lower()}"] = (
        f"call(56 if X86 else 220, {0x10F00 & ~flag}, 0, 0, 0, 0)"
    )


@pytest.mark.parametrize("way", UNCOUNTED)
def test_there_is_no_memory_that_nobody_counts(attack: Attack, way: str) -> None:
    result = attack(
        f"""
import ctypes, fcntl, mmap, os, struct
X86 = os.uname().machine == "x86_64"
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    wide = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    if libc.syscall(*wide) == 0:
        os._exit(7)
    raise OSError(ctypes.get_errno(), "refused")
{UNCOUNTED[way]}
"""
    )
    assert result.status is Status.ERROR
    assert (result.error or "").startswith(("PermissionError", "OSError: [Errno 95]", "OSError: [Errno 38]"))


LOCKS = {
    "flock": "fcntl.flock(file, fcntl.LOCK_EX)",
    "lockf": "fcntl.lockf(file, fcntl.LOCK_SH)",
    "open file": "fcntl.fcntl(file, 37, struct.pack('hhqqi4x', fcntl.F_RDLCK, 0, 0, 0, 0))",
}


@pytest.mark.parametrize("way", LOCKS)
def test_a_lock_on_a_shared_file_has_no_effect(pool: WorkerPool, way: str) -> None:
    """It would be seen by the programs of other workers, and by the host."""
    code = f"import fcntl, os, struct, time\nfile = open(os.__file__)\n{LOCKS[way]}\nprint('locked')"
    inode = os.stat(os.__file__).st_ino
    running = pool.submit(f"{code}\ntime.sleep(1)")
    seen = False
    while not running.done():
        with open("/proc/locks") as locks:
            seen = seen or f":{inode} " in locks.read()
        time.sleep(0.01)
    assert (running.result().stdout, seen) == ("locked\n", False)


def test_sqlite_works_in_the_programs_own_folder(attack: Attack) -> None:
    """It takes locks, and asks whether others have."""
    code = """
import sqlite3
for value in (1, 2):
    with sqlite3.connect("numbers.db") as base:
        base.execute("create table if not exists t (x)")
        base.execute("insert into t values (?)", (value,))
print(sqlite3.connect("numbers.db").execute("select sum(x) from t").fetchone())
"""
    assert attack(code).stdout == "(3,)\n"


def test_no_crash_handler_is_started(attack: Attack) -> None:
    """The kernel starts none for a limit of 1 byte, core(5); with 0 it would, and hand it the memory."""
    result = attack("import resource\nprint(resource.getrlimit(resource.RLIMIT_CORE))")
    assert result.stdout in (
        "(1, 1)\n",
        "(0, 0)\n" if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0 else "",
    )
