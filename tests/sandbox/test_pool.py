"""The pool under load, and when it closes, by itself or with its caller."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from src.sandbox import QueueFull, Sandbox, SandboxError, Status, build_sandbox
from src.sandbox.pool import WorkerPool
from tests.jails import in_jail
from tests.sandbox.helpers import cold, descendants, eventually

JAILS = ["bubblewrap", "sandlock", "unconfined"]
SLEEP = "import time\ntime.sleep(0.7)\nprint('done')"


def scratch(pid: int) -> set[Path]:
    """Folders of the host that the sandboxes of a process use; bubblewrap's are in its jail."""
    places = ("/dev/shm", tempfile.gettempdir())
    return {path for place in places for path in Path(place).glob(f"sandbox-{pid}-*")}


def test_each_result_is_its_own(two: WorkerPool) -> None:
    def ask(token: int) -> bool:
        result = two.run(f"import time\ntime.sleep({token % 5} / 200)\nprint({token})")
        return (result.status, result.stdout) == (Status.OK, f"{token}\n")

    before = two.stats()["executions"]
    with ThreadPoolExecutor(12) as threads:
        assert all(threads.map(ask, range(120)))
    futures = [two.submit(f"print({token})") for token in range(60)]
    assert [future.result().stdout for future in futures] == [f"{token}\n" for token in range(60)]
    assert two.stats()["executions"] == before + 180


def test_submit_returns_at_once_and_workers_run_side_by_side(two: WorkerPool) -> None:
    start = time.monotonic()
    futures = [two.submit(SLEEP) for _ in range(4)]
    assert time.monotonic() - start < 0.7
    assert two.stats()["queue"] >= 1
    assert all(future.result().status is Status.OK for future in futures)
    assert 1.4 <= time.monotonic() - start < 2.9


def test_a_cancelled_execution_does_not_run(two: WorkerPool) -> None:
    busy = [two.submit(SLEEP) for _ in range(2)]
    waiting = two.submit("print(1)")
    assert waiting.cancel()
    assert [future.result().stdout for future in busy] == ["done\n"] * 2
    assert two.run("print(2)").stdout == "2\n"


def test_statistics(two: WorkerPool) -> None:
    before = two.stats()
    two.run("1/0")
    two.run("print(1)")
    after = two.stats()
    assert (after["error"] - before["error"], after["ok"] - before["ok"]) == (1, 1)
    assert 0 < after["p50_seconds"] <= after["p95_seconds"] < 3
    assert set(after) == {
        *map(str, Status),
        *(f"{kind}{share}_seconds" for kind in ("", "queued_") for share in ("p50", "p95", "p99")),
        "executions",
        "replay_seconds",
        "restarts",
        "queue",
    }


@pytest.mark.parametrize("jail", list(map(in_jail, JAILS)))
def test_close_leaves_nothing(jail: str) -> None:
    files, threads = scratch(os.getpid()), threading.active_count()
    descriptors = len(os.listdir("/proc/self/fd"))
    sandbox = build_sandbox(cold(jail=jail, workers=1))
    assert isinstance(sandbox, WorkerPool)
    futures = [sandbox.submit("import time\ntime.sleep(4)") for _ in range(3)]
    time.sleep(0.2)
    (worker,) = sandbox.pids()
    processes = {worker, *descendants(worker)}  # other pools of this process go on forking ahead
    assert (scratch(os.getpid()) > files) is (jail != "bubblewrap")
    start = time.monotonic()
    sandbox.close()
    sandbox.close()
    assert time.monotonic() - start < 2
    results = [future.result(timeout=1) for future in futures]
    assert [result.status for result in results] == [Status.INFRASTRUCTURE] * 3
    assert {result.error for result in results} == {"the sandbox was closed"}
    with pytest.raises(SandboxError, match="closed"):
        sandbox.submit("1")
    assert eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in processes))
    assert eventually(lambda: scratch(os.getpid()) == files)
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == descriptors


CALLER = """
import sys, time
from src.config import SandboxConfig
from src.sandbox import build_sandbox
from tests.sandbox.helpers import cold
sandbox = build_sandbox(cold(jail=sys.argv[1], workers=1))
future = sandbox.submit("import time\\ntime.sleep(4)")
time.sleep(0.2)
print("ready", flush=True)
if sys.argv[2] == "wait":
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("jail", "end"), [in_jail("bubblewrap", "exit"), *(in_jail(jail, "kill") for jail in JAILS)]
)
def test_workers_end_with_their_caller(jail: str, end: str) -> None:
    """A caller that forgets to close, and one that is killed with its workers busy."""
    command = [sys.executable, "-c", CALLER, jail, "wait" if end == "kill" else "go"]
    caller = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert caller.stdout is not None
        assert caller.stdout.readline() == "ready\n"
        workers = descendants(caller.pid)
        if end == "kill":
            assert workers
            assert bool(scratch(caller.pid)) is (jail != "bubblewrap")
            caller.kill()
        assert caller.wait(10) == (-signal.SIGKILL if end == "kill" else 0)
        assert eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
        assert eventually(lambda: scratch(caller.pid) == set())
    finally:
        caller.kill()
        caller.wait()
        assert caller.stdout is not None
        caller.stdout.close()


def test_a_running_program_can_be_cancelled(two: WorkerPool) -> None:
    workers = two.pids()
    future = two.submit("import time\nprint('begun')\ntime.sleep(2)")
    time.sleep(0.3)
    start = time.monotonic()
    two.cancel(future)
    result = future.result()
    assert (result.status, result.stdout) == (Status.KILLED, "begun\n")
    assert result.error == "cancelled by the caller"
    assert time.monotonic() - start < 1.5
    two.cancel(future)  # too late, and no harm
    assert (two.run("print(1)").stdout, two.pids()) == ("1\n", workers)


def test_a_full_queue_makes_callers_wait() -> None:
    with build_sandbox(cold(workers=1, queue=2)) as sandbox:
        running = sandbox.submit(SLEEP)
        assert eventually(lambda: sandbox.stats()["queue"] == 0)
        waiting = [sandbox.submit("print(1)") for _ in range(2)]
        with pytest.raises(QueueFull, match="2 programs are waiting"):
            sandbox.submit("print(2)", block=False)
        start = time.monotonic()
        late = sandbox.submit("print(3)")  # waits until the sleeper is done
        assert time.monotonic() - start > 0.2
        assert [future.result().stdout for future in (running, *waiting, late)] == [
            "done\n",
            "1\n",
            "1\n",
            "3\n",
        ]
        sleeper = sandbox.submit(SLEEP)
        assert eventually(lambda: sandbox.stats()["queue"] == 0)
        for future in [sandbox.submit("print(1)") for _ in range(2)]:
            assert future.cancel()
        sandbox.submit("print(4)", block=False)  # cancelling makes room
        assert sleeper.result().stdout == "done\n"


def test_trajectories_take_turns() -> None:
    """One with many programs does not hold up one that has a single one."""
    with build_sandbox(cold(workers=1)) as sandbox:
        busy = [sandbox.submit("import time\ntime.sleep(0.1)", trajectory="busy") for _ in range(20)]
        start = time.monotonic()
        assert sandbox.run("print(1)", trajectory="modest").stdout == "1\n"
        assert time.monotonic() - start < 1.6
        assert not busy[-1].done()
        for future in busy:
            future.cancel()


def test_a_deadline_is_for_beginning() -> None:
    with build_sandbox(cold(workers=1, wall_seconds=3)) as sandbox:
        busy = sandbox.submit("import time\ntime.sleep(2)")
        start = time.monotonic()
        queued = sandbox.submit("print(1)", within=0.3)
        result = queued.result()
        assert (result.status, "not begun" in (result.error or "")) == (Status.INFRASTRUCTURE, True)
        assert 0.25 < time.monotonic() - start < 1.8
        assert busy.result().status is Status.OK
        assert sandbox.run("import time\ntime.sleep(2)", within=0.4).status is Status.OK
        assert sandbox.run("import time\ntime.sleep(9)", within=0.4).status is Status.TIMEOUT
        assert sandbox.stats()["infrastructure"] == 1


def test_asyncio(two: WorkerPool) -> None:
    async def main() -> None:
        tokens = range(50)
        results = await asyncio.gather(*(two.arun(f"print({token})") for token in tokens))
        assert [result.stdout for result in results] == [f"{token}\n" for token in tokens]
        task = asyncio.create_task(two.arun("import time\ntime.sleep(2.5)"))
        await asyncio.sleep(0.2)
        start = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        results = await asyncio.gather(*(two.arun(f"print({token})") for token in range(2)))
        assert [result.stdout for result in results] == ["0\n", "1\n"]
        assert time.monotonic() - start < 2

    asyncio.run(main())


def test_asyncio_waits_for_room_without_blocking_the_loop() -> None:
    async def main() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        code = "import time\ntime.sleep(0.05)\nprint(1)"
        results = await asyncio.gather(*(sandbox.arun(code) for _ in range(8)))
        ticking.cancel()
        assert [result.stdout for result in results] == ["1\n"] * 8
        assert ticks > 10

    with build_sandbox(cold(workers=1, queue=2)) as sandbox:
        asyncio.run(main())


def test_what_one_program_wrote_takes_no_room_from_the_next() -> None:
    """Queued right behind, it starts before the files of the one before are gone."""
    code = "for i in range(14): open(str(i), 'wb').write(bytes(10**6))\nprint('written')"
    with build_sandbox(cold(workers=1)) as sandbox:
        futures = [sandbox.submit(code) for _ in range(20)]
        assert [(f.result().stdout, f.result().error) for f in futures] == [("written\n", None)] * 20


def test_the_interface_is_what_callers_rely_on(two: WorkerPool) -> None:
    sandbox: Sandbox = two
    assert (sandbox.jail in JAILS, sandbox.workers) == (True, 2)
