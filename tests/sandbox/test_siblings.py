"""Attacks on a worker's other children: those that wait for a program, and those that live on."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.config import SandboxConfig
from src.sandbox import Status, build_sandbox
from src.sandbox.pool import WorkerPool
from tests.sandbox.helpers import eventually, leaves, number_inside, processor_seconds

WAYS_TO_A_SIBLING = {
    "signal": "os.kill(pid, signal.SIGCONT)",
    "question": "os.kill(pid, 0)",
    "group": "os.killpg(pid, signal.SIGCONT)",
    "descriptor of it": "os.pidfd_open(pid)",
    "trace": "libc.ptrace(0x4206, pid, None, None) and fail()",
    "read its memory": "libc.process_vm_readv(pid, None, 0, None, 0, 0) and fail()",
    "limits": "resource.prlimit(pid, resource.RLIMIT_CPU)",
    "slow it": "os.setpriority(os.PRIO_PROCESS, pid, 19)",
    "move it": "os.sched_setaffinity(pid, {0})",
    "its memory as a file": "open(f'/proc/{pid}/mem', 'rb')",
    "its map": "open(f'/proc/{pid}/maps').read()",
    "its orders": "open(f'/proc/{pid}/fd/4', 'rb', 0)",
    "its report": "open(f'/proc/{pid}/fd/3', 'wb', 0)",
    "its output": "open(f'/proc/{pid}/fd/1', 'wb', 0)",
    "its descriptors": "os.listdir(f'/proc/{pid}/fd')",
    "its folder": "os.listdir(f'/proc/{pid}/cwd')",
    "where its folder is": "os.readlink(f'/proc/{pid}/cwd')",
    "its state": "open(f'/proc/{pid}/stat').read()",
    "its command": "open(f'/proc/{pid}/cmdline').read()",
    "its fate": "open(f'/proc/{pid}/oom_score_adj', 'w').write('1000')",
    "its processor time": "time.clock_gettime((~pid << 3) | 2)",
    "its priority": "os.getpriority(os.PRIO_PROCESS, pid)",
}


@pytest.mark.parametrize("way", WAYS_TO_A_SIBLING)
def test_a_child_that_waits_in_the_same_worker_is_out_of_reach(pool: WorkerPool, way: str) -> None:
    """Every number of a child of the worker is tried, but the program's own."""
    pool.run("print(1)")
    time.sleep(0.1)  # by then none is on its way out
    assert eventually(lambda: len(leaves(pool.pids())) >= 2)
    numbers = sorted(map(number_inside, leaves(pool.pids())))
    result = pool.run(
        f"""
import ctypes, os, resource, signal, time
libc = ctypes.CDLL(None)
def fail():
    raise PermissionError
tried = 0
for pid in {numbers}:
    if pid != os.getpid():
        tried += 1
        try:
            {WAYS_TO_A_SIBLING[way]}
            print("reached", pid)
        except OSError:
            pass
print(tried > 0)
"""
    )
    assert (result.status, result.stdout) == (Status.OK, "True\n")


def test_children_of_a_worker_share_no_pipe(pool: WorkerPool) -> None:
    def pipes(pid: int) -> set[str]:
        folder = Path(f"/proc/{pid}/fd")
        return {link for entry in folder.iterdir() if (link := os.readlink(entry)).startswith("pipe:")}

    def look() -> list[set[str]] | None:
        """Return the pipes of each child while a program runs; None if it ended meanwhile."""
        running = pool.submit("import time\ntime.sleep(1)")
        assert eventually(lambda: len(leaves(pool.pids())) >= 2)
        time.sleep(0.2)  # by then those that wait have closed what is not theirs
        try:
            seen = [pipes(pid) for pid in leaves(pool.pids())]
        except FileNotFoundError:
            seen = []
        ended = running.done()
        running.result()
        return None if ended else seen

    seen = next(found for _ in range(5) if (found := look()) is not None)  # this machine may be busy
    assert all(seen)
    assert len(seen) >= 2
    assert sum(map(len, seen)) == len(set().union(*seen))


@pytest.fixture(scope="module")
def sessions(pool: WorkerPool) -> Iterator[WorkerPool]:
    """One worker in the jail under attack, where each trajectory has a process that lives on."""
    limits = {"wall_seconds": 0.8, "cpu_seconds": 0.8, "memory_mb": 128, "warm": []}
    with build_sandbox(SandboxConfig(jail=pool.jail, workers=1, state="session", **limits)) as sandbox:
        assert isinstance(sandbox, WorkerPool)
        yield sandbox


@pytest.fixture
def two(sessions: WorkerPool) -> Iterator[tuple[str, str]]:
    """Two trajectories, one of which has begun."""
    names = f"a-{secrets.token_hex(4)}", f"b-{secrets.token_hex(4)}"
    assert sessions.run("x = 'kept'\nopen('f', 'w').write(x)", trajectory=names[0]).status is Status.OK
    yield names
    for name in names:
        sessions.end(name)


def test_a_session_is_its_trajectorys_alone(sessions: WorkerPool, two: tuple[str, str]) -> None:
    first, second = two
    other = sessions.run("import os\nprint(os.listdir('.'), 'x' in globals())", trajectory=second)
    assert (other.status, other.stdout) == (Status.OK, "[] False\n")
    nobody = sessions.run("import os\nprint(os.listdir('.'), 'x' in globals())")
    assert (nobody.status, nobody.stdout) == (Status.OK, "[] False\n")
    assert sessions.run("print(x, open('f').read())", trajectory=first).stdout == "kept kept\n"


@pytest.mark.parametrize("way", WAYS_TO_A_SIBLING)
def test_a_session_of_another_trajectory_is_out_of_reach(
    sessions: WorkerPool, two: tuple[str, str], way: str
) -> None:
    me = int(sessions.run("import os\nprint(os.getpid())", trajectory=two[0]).stdout)
    result = sessions.run(
        f"""
import ctypes, os, resource, signal, time
libc = ctypes.CDLL(None)
def fail():
    raise PermissionError
pid = {me}
{WAYS_TO_A_SIBLING[way]}
print("reached")
""",
        trajectory=two[1],
    )
    assert (result.status, result.stdout) == (Status.ERROR, "")
    assert sessions.run("print(x)", trajectory=two[0]).stdout == "kept\n"


BUSY_BETWEEN = {
    "spinning": "while True: pass",
    "printing": "while True: print('late'); time.sleep(0.001)",
    "reporting": 'while True: os.write(3, b\'{"status": "error", "error": "forged"}\\n\'); time.sleep(0.001)',
    "writing files": "while True: open('late', 'a').write('late'); time.sleep(0.001)",
    "waking itself": "while True: signal.raise_signal(signal.SIGCONT); time.sleep(0.001)",
}


@pytest.mark.parametrize("kind", BUSY_BETWEEN)
def test_a_session_does_nothing_between_its_programs(
    sessions: WorkerPool, two: tuple[str, str], kind: str
) -> None:
    """A thread left behind takes no time, and neither prints nor reports in another's name."""
    leave = f"import os, signal, threading, time\ndef f():\n    {BUSY_BETWEEN[kind]}\n"
    leave += "threading.Thread(target=f, daemon=True).start()"
    assert sessions.run(leave, trajectory=two[0]).status in (Status.OK, Status.ERROR)
    time.sleep(0.1)  # what it had to clear up

    assert processor_seconds(sessions.pids(), over=0.3) < 0.1
    for index in range(20):
        result = sessions.run(f"print({index})", trajectory=two[1])
        assert (result.status, result.stdout) == (Status.OK, f"{index}\n")


def test_an_ended_trajectorys_session_is_gone(sessions: WorkerPool, two: tuple[str, str]) -> None:
    me = int(sessions.run("import os\nprint(os.getpid())", trajectory=two[0]).stdout)
    assert eventually(lambda: me in map(number_inside, leaves(sessions.pids())))
    sessions.end(two[0])
    assert eventually(lambda: me not in map(number_inside, leaves(sessions.pids())))
