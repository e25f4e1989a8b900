"""Attacks by making processes and threads, and on other processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from src.sandbox import ExecutionResult, Status
from src.sandbox.pool import WorkerPool
from tests.sandbox.helpers import eventually, leaves, number_inside, processor_seconds, worker_and_zygote

Attack = Callable[[str], ExecutionResult]

WAYS_TO_FORK = {
    "fork": "os.fork() or os._exit(0)",
    "vfork": "ctypes.CDLL(None).vfork() < 0 and fail()",
    "clone": "libc.syscall(CLONE, 17, 0, 0, 0, 0) < 0 and fail()",
    "clone with shared memory": "libc.syscall(CLONE, 0x4111, 0, 0, 0, 0) < 0 and fail()",
    "clone as a sibling": "libc.syscall(CLONE, 0x8011, 0, 0, 0, 0) < 0 and fail()",
    "clone3": "libc.syscall(435, bytes(88), 88) < 0 and fail()",
    "spawn": "os.posix_spawn(sys.executable or '/bin/true', ['x'], {})",
    "subprocess": "subprocess.Popen([sys.executable or '/bin/true'])",
    "multiprocessing": "multiprocessing.Process(target=print).start()",
    "process pool": "concurrent.futures.ProcessPoolExecutor(1).submit(print).result()",
    "terminal": "pty.fork()[0] or os._exit(0)",
    "system": "os.system('true') and fail()",
    "popen": "os.popen('true').close() and fail()",
    "daemon": "os.fork() or (os.setsid(), os.fork() or time.sleep(100))",
    "in a thread": "in_a_thread(lambda: os.fork() or os._exit(0))",
}


@pytest.mark.parametrize("way", WAYS_TO_FORK)
def test_no_process_is_made(attack: Attack, way: str) -> None:
    """A fork bomb cannot start; bounded, in case it could."""
    result = attack(
        f"""
import concurrent.futures, ctypes, multiprocessing, os, pty, subprocess, sys, threading, time
CLONE = 56 if os.uname().machine == "x86_64" else 220
libc = ctypes.CDLL(None, use_errno=True)
def fail():
    raise PermissionError
def in_a_thread(act):
    done = []
    def run():
        try:
            done.append(act())
        except OSError:
            pass
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    done or fail()
made = 0
for _ in range(10):
    try:
        {WAYS_TO_FORK[way]}
        made += 1
    except OSError:
        pass
print("made", made)
"""
    )
    assert (result.status, result.stdout) == (Status.OK, "made 0\n")


WAYS_TO_EXECUTE = {
    "interpreter": "os.execv(sys.executable or '/bin/true', ['x'])",
    "shell": "os.execv('/bin/sh', ['sh', '-c', 'echo done'])",
    "descriptor": "os.execve(os.open(os.__file__, os.O_RDONLY), ['x'], {})",
    "linker": "os.execv('/lib64/ld-linux-x86-64.so.2', ['x', '/bin/true'])",
    "anonymous file": "os.write(f := os.memfd_create('x'), b'#!/bin/true'), os.execve(f, ['x'], {})",
    "own script": "open('x', 'w').write('#!/bin/true'), os.execv('x', ['x'])",
    "relative to a folder": "libc.syscall(EXECVEAT, os.open('.', 0), b'x', 0, 0, 0) < 0 and fail()",
}


@pytest.mark.parametrize("way", WAYS_TO_EXECUTE)
def test_no_other_program_takes_its_place(attack: Attack, way: str) -> None:
    result = attack(
        f"""
import ctypes, os, sys
EXECVEAT = 322 if os.uname().machine == "x86_64" else 281
libc = ctypes.CDLL(None)
def fail():
    raise PermissionError
{WAYS_TO_EXECUTE[way]}
"""
    )
    assert (result.status, result.stdout) == (Status.ERROR, "")
    assert (result.error or "").startswith(("PermissionError", "FileNotFoundError"))


def test_threads_work_in_moderation(attack: Attack) -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as executor:
    print(sum(executor.map(abs, range(100))))
"""
    assert attack(code).stdout == "4950\n"


THREAD_BOMBS = {
    "threading": "threading.Thread(target=time.sleep, args=(60,)).start()",
    "daemons": "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "timers": "threading.Timer(60, print).start()",
    "low level": "_thread.start_new_thread(time.sleep, (60,))",
}


@pytest.mark.parametrize("kind", THREAD_BOMBS)
def test_a_thread_bomb_is_stopped(attack: Attack, kind: str) -> None:
    result = attack(
        f"""
import _thread, threading, time
threading.stack_size(32768)
for _ in range(2000):
    {THREAD_BOMBS[kind]}
time.sleep(60)
"""
    )
    # the exact limit where the kernel counts for the jail alone, the worker's watch elsewhere
    assert result.error in ("more than 16 threads", "RuntimeError: can't start new thread")


def test_a_script_waits_for_its_threads(attack: Attack) -> None:
    code = (
        "import threading, time\ndef f(): time.sleep(0.1); print('late')\nthreading.Thread(target=f).start()"
    )
    assert attack(code).stdout == "late\n"


def test_threads_that_were_left_running_are_gone(attack: Attack, pool: WorkerPool) -> None:
    """Their processor time would be the next program's."""
    result = attack(
        """
import threading
def spin():
    while True: pass
for _ in range(3): threading.Thread(target=spin, daemon=True).start()
"""
    )
    assert result.status is Status.OK
    assert eventually(lambda: processor_seconds(pool.pids(), over=0.2) < 0.1)


WAYS_TO_SIGNAL = {
    "worker": "os.kill(os.getppid(), 9)",
    "group of the worker": "os.killpg(os.getpgid(os.getppid()), 9)",
    "own group": "os.kill(0, 9)",
    "own group by number": "os.kill(-os.getpid(), 9)",
    "all": "os.kill(-1, 9)",
    "init": "os.kill(1, 9)",
    "stop the worker": "os.kill(os.getppid(), signal.SIGSTOP)",
    "is the worker there": "os.kill(os.getppid(), 0)",
    "thread of the worker": "call(TGKILL, os.getppid(), os.getppid(), 9)",
    "thread": "call(TKILL, os.getppid(), 9)",
    "queue": "libc.sigqueue(os.getppid(), 9, None) < 0 and fail()",
    "queue to a thread": "call(QUEUE, os.getppid(), os.getppid(), 9, bytes(128))",
    "pidfd": "signal.pidfd_send_signal(os.pidfd_open(os.getppid()), 9)",
    "owner of a descriptor": "fcntl.fcntl(1, fcntl.F_SETOWN, os.getppid())",
    "owning thread of a descriptor": "fcntl.fcntl(1, 15, struct.pack('ii', 1, os.getppid()))",
    "signal of a descriptor": "fcntl.fcntl(1, fcntl.F_SETSIG, 9)",
    "owner by ioctl": "fcntl.ioctl(1, 0x8901, struct.pack('i', os.getppid()))",
    "signal of one's death": "libc.prctl(1, 9, 0, 0, 0) < 0 and fail()",
    "limits of the worker": "resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (0, 0))",
    "read its limits": "resource.prlimit(os.getppid(), resource.RLIMIT_CPU)",
    "priority of the worker": "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
    "own priority": "os.nice(-5)",
    "scheduling of the worker": "os.sched_setscheduler(os.getppid(), 0, os.sched_param(0))",
    "cores of the worker": "os.sched_setaffinity(os.getppid(), {0})",
    "trace the worker": "libc.ptrace(16, os.getppid(), None, None) < 0 and fail()",
    "seize the worker": "libc.ptrace(0x4206, os.getppid(), None, None) < 0 and fail()",
    "be traced": "libc.ptrace(0, 0, None, None) < 0 and fail()",
    "read the worker": "libc.process_vm_readv(os.getppid(), None, 0, None, 0, 0) < 0 and fail()",
    "write the worker": "libc.process_vm_writev(os.getppid(), None, 0, None, 0, 0) < 0 and fail()",
    "open the worker": "open(f'/proc/{os.getppid()}/mem', 'r+b')",
    "list the worker": "os.listdir(f'/proc/{os.getppid()}/fd')",
    "its standard input": "open(f'/proc/{os.getppid()}/fd/3', 'rb', 0)",
    "where it works": "os.readlink(f'/proc/{os.getppid()}/cwd')",
    "its children": "open(f'/proc/{os.getppid()}/task/{os.getppid()}/children').read()",
    "another session": "os.setsid()",
    "the worker's group": "os.setpgid(0, os.getppid())",
    "own memory as a file": "open('/proc/self/mem', 'r+b')",
}


@pytest.mark.parametrize("way", WAYS_TO_SIGNAL)
def test_worker_and_zygote_are_out_of_reach(attack: Attack, pool: WorkerPool, way: str) -> None:
    """The zygote is the parent of the program, the worker that of the zygote."""
    worker = number_inside(worker_and_zygote(pool.pids()[0])[0])
    targets = ["os.getppid()", str(worker)] if "getppid" in WAYS_TO_SIGNAL[way] else [""]
    for target in targets:
        result = attack(
            f"""
import ctypes, fcntl, os, resource, signal, struct
libc = ctypes.CDLL(None)
TGKILL, TKILL, QUEUE = (234, 200, 297) if os.uname().machine == "x86_64" else (131, 130, 240)
def fail():
    raise PermissionError
def call(*arguments):
    libc.syscall(*arguments) < 0 and fail()
{WAYS_TO_SIGNAL[way].replace("os.getppid()", target)}
print("done")
"""
        )
        assert (result.status, result.stdout) == (Status.ERROR, ""), target


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the host's."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def test_processes_of_the_host_are_out_of_reach(victim: subprocess.Popen[bytes], pool: WorkerPool) -> None:
    for act in (
        "os.kill(pid, 9)",
        "open(f'/proc/{pid}/environ').read()",
        "os.listdir(f'/proc/{pid}/fd')",
        "os.readlink(f'/proc/{pid}/exe')",
        "signal.pidfd_send_signal(os.pidfd_open(pid), 9)",
        "os.setpriority(os.PRIO_PROCESS, pid, 19)",
    ):
        assert pool.run(f"import os, signal\npid = {victim.pid}\n{act}").status is Status.ERROR, act
    assert victim.poll() is None


@pytest.mark.parametrize("number", [19, 20, 21, 22])  # STOP, TSTP, TTIN, TTOU
def test_a_program_that_stops_itself_times_out(attack: Attack, number: int) -> None:
    result = attack(f"import os\nprint('before', flush=True)\nos.kill(os.getpid(), {number})\nprint('after')")
    # a session without a terminal is an orphaned group, which only SIGSTOP stops
    expected = (Status.TIMEOUT, "before\n") if number == 19 else (Status.OK, "before\nafter\n")
    assert (result.status, result.stdout) == expected


def test_the_program_may_signal_itself(attack: Attack) -> None:
    killed = attack("import os\nprint('before', flush=True)\nos.kill(os.getpid(), 9)")
    assert (killed.status, killed.stdout) == (Status.KILLED, "before\n")
    assert killed.error == "killed by signal 9 (SIGKILL)"
    assert attack("import os\nos.abort()").error == "killed by signal 6 (SIGABRT)"
    alarm = (
        "import signal\nsignal.signal(14, lambda *_: print('rang'))\nsignal.setitimer(0, 0.1)\nsignal.pause()"
    )
    assert attack(alarm).stdout == "rang\n"


def test_privileges_are_gone(pool: WorkerPool) -> None:
    """Of every child of the worker, running or waiting: no capability, none to be gained, the filter on."""
    running = pool.submit("import time\ntime.sleep(0.6)\nprint('done')")

    def settled() -> bool:
        for pid in leaves(pool.pids()):
            try:
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            except OSError:
                return False  # ended meanwhile
            status = dict(line.split(":\t", 1) for line in lines)
            if {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} != {"0" * 16}:
                return False
            if (status["NoNewPrivs"], status["Seccomp"]) != ("1", "2"):
                return False
        return True

    assert leaves(pool.pids())
    assert eventually(settled, seconds=0.5)
    assert not running.done()
    assert running.result().stdout == "done\n"
