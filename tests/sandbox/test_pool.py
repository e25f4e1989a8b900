"""The pool when workers fail, under load, and when it closes, by itself or with its caller."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from src.config import SandboxConfig
from src.sandbox import ExecutionResult, QueueFull, Sandbox, SandboxError, Status, build_sandbox
from src.sandbox import client as client_module
from src.sandbox.client import Worker
from src.sandbox.jails.base import Jail, Launched, LaunchedProcess, spawn
from src.sandbox.lane import Lane, LaneFailure, Order
from src.sandbox.pool import WorkerPool
from tests.sandbox.helpers import cold, descendants, eventually, leaves

JAILS = ["bubblewrap", "sandlock", "unconfined"]
SLEEP = "import time\ntime.sleep(0.7)\nprint('done')"


@pytest.fixture(scope="module", params=JAILS[:2])
def two(request: pytest.FixtureRequest) -> Iterator[WorkerPool]:
    """Two workers in each jail."""
    with build_sandbox(cold(jail=request.param, workers=2, wall_seconds=3)) as sandbox:
        assert isinstance(sandbox, WorkerPool)
        yield sandbox


def leftovers() -> list[str]:
    return [
        str(path) for place in ("/dev/shm", tempfile.gettempdir()) for path in Path(place).glob("sandbox-*")
    ]


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
        "restarts",
        "queue",
    }


def test_a_worker_killed_once_costs_nothing(two: WorkerPool) -> None:
    before = two.stats()["restarts"]
    futures = [two.submit(SLEEP) for _ in range(2)]
    time.sleep(0.3)
    os.kill(two.pids()[0], signal.SIGKILL)
    assert [future.result().stdout for future in futures] == ["done\n"] * 2
    assert two.stats()["restarts"] == before + 1
    assert two.stats()["infrastructure"] == 0


@pytest.mark.parametrize("jail", JAILS[:2])
def test_a_worker_killed_twice_is_infrastructure(jail: str) -> None:
    with build_sandbox(cold(jail=jail, workers=1, waiting=0)) as sandbox:
        assert isinstance(sandbox, WorkerPool)
        future = sandbox.submit("import time\ntime.sleep(4)")
        killed: list[int] = []

        def running() -> bool:
            """A new worker runs the program, not its probe: outermost process, worker, program."""
            if sandbox.pids() in ([], killed[-1:]):
                return False
            below = descendants(sandbox.pids()[0])
            time.sleep(0.4)
            return len(below) == 2 and descendants(sandbox.pids()[0]) == below

        for _ in range(2):
            assert eventually(running)
            killed += sandbox.pids()
            os.kill(killed[-1], signal.SIGKILL)
        result = future.result()
        assert result.status is Status.INFRASTRUCTURE
        assert "died" in (result.error or "")
        assert sandbox.run("print(1)").stdout == "1\n"
        assert sandbox.stats()["restarts"] == 2


def test_a_worker_that_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "GRACE", 0.5)
    with build_sandbox(cold(jail="unconfined", workers=1, wall_seconds=1)) as sandbox:
        assert isinstance(sandbox, WorkerPool)
        os.kill(sandbox.pids()[0], signal.SIGSTOP)
        assert sandbox.run("print(1)").stdout == "1\n"
        assert sandbox.stats()["restarts"] == 1


READY = 'send({"ready": True, "missing": []})'
ANSWERS = {
    "garbage": "os.write(1, b'garbage garbage')",
    "a huge frame": "os.write(1, b'\\xff' * 4)",
    "no object": "os.write(1, b'\\0\\0\\0\\2[]')",
    "another request's answer": 'send({**answer, "id": 7})',
    "a wrong status": 'send({**answer, "status": "fine"})',
    "a status that is the pool's to give": 'send({**answer, "status": "infrastructure"})',
    "a wrong type": 'send({**answer, "stdout": 1})',
    "a missing field": 'del answer["seconds"]; send(answer)',
    "half a frame, then the end": "os.write(1, b'\\0\\0\\1\\0abc'); os._exit(0)",
}


class Scripted(Jail):
    """A jail whose workers follow a script: the first ``bad`` of them ``act``, later ones answer properly."""

    name = "scripted"

    def __init__(self, act: str, bad: int, ready: str = READY) -> None:
        super().__init__(SandboxConfig())
        self._act, self._bad, self._ready = act, bad, ready
        self.started = 0

    def unavailable(self) -> str | None:
        return None

    def launch(self, limits: dict[str, Any]) -> Launched:
        self.started += 1
        act = self._act if self.started <= self._bad else "send(answer)"
        code = f"""
import json, os, sys, time
def receive():
    return json.loads(sys.stdin.buffer.read(int.from_bytes(sys.stdin.buffer.read(4), "big")))
def send(message):
    body = json.dumps(message).encode()
    os.write(1, len(body).to_bytes(4, "big") + body)
receive()
{self._ready}
while True:
    answer = {{"id": receive()["id"], "status": "ok", "stdout": "fine", "error": None, "seconds": 0.1}}
    {act}
"""
        process, log = spawn([sys.executable, "-I", "-S", "-c", code], {})
        return LaunchedProcess(process, log, {})


@pytest.fixture
def unproven(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripted workers could not pass the probe."""
    monkeypatch.setattr("src.sandbox.client.prove", lambda *_, **__: None)


def scripted_pool(jail: Scripted, **settings: Any) -> WorkerPool:
    cfg = cold(workers=1, **settings)
    return WorkerPool(jail.name, 1, lambda: Worker(jail, cfg), cfg)


@pytest.mark.usefixtures("unproven")
@pytest.mark.parametrize("nonsense", ANSWERS)
def test_nonsense_once_is_retried_and_twice_is_infrastructure(nonsense: str) -> None:
    for bad, status in ((1, Status.OK), (2, Status.INFRASTRUCTURE)):
        jail = Scripted(ANSWERS[nonsense], bad)
        with scripted_pool(jail, wall_seconds=0.5) as sandbox:
            assert sandbox.run("x").status is status
            assert jail.started == bad + 1  # exactly one retry; afterwards a fresh worker waits
            assert sandbox.run("x").stdout == "fine"


@pytest.mark.parametrize("ready", ["sys.exit('no luck')", 'send({"ready": False})', "time.sleep(60)"])
def test_a_pool_whose_workers_do_not_start_says_why(ready: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.sandbox.pool._START_PAUSES", (0.0, 0.01))
    jail = Scripted("send(answer)", 0, ready)
    with pytest.raises(SandboxError, match=r"scripted: a worker cannot start: .*(no luck|ready|no answer)"):
        scripted_pool(jail, start_seconds=0.5)
    assert jail.started == 2


@pytest.mark.usefixtures("unproven")
def test_workers_that_stop_starting_are_infrastructure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.sandbox.pool._START_PAUSES", (0.0, 0.01))
    monkeypatch.setattr("src.sandbox.pool._OUTAGE", 0.3)
    jail = Scripted("os._exit(0)", 99)
    with scripted_pool(jail) as sandbox:
        jail._ready = "sys.exit('no luck')"
        for _ in range(2):  # the second without an attempt: the first ones failed just now
            result = sandbox.run("x")
            assert (result.status, "no luck" in (result.error or "")) == (Status.INFRASTRUCTURE, True)
            started, jail.started = jail.started, 0
        assert started == 0
        jail._ready, jail._bad = READY, 0
        time.sleep(0.3)
        assert sandbox.run("x").status is Status.OK


@pytest.mark.parametrize("jail", JAILS)
def test_close_leaves_nothing(jail: str) -> None:
    processes, files, threads = descendants(os.getpid()), leftovers(), threading.active_count()
    descriptors = len(os.listdir("/proc/self/fd"))
    sandbox = build_sandbox(cold(jail=jail, workers=1))
    futures = [sandbox.submit("import time\ntime.sleep(4)") for _ in range(3)]
    time.sleep(0.2)
    start = time.monotonic()
    sandbox.close()
    sandbox.close()
    assert time.monotonic() - start < 2
    results = [future.result(timeout=1) for future in futures]
    assert [result.status for result in results] == [Status.INFRASTRUCTURE] * 3
    assert {result.error for result in results} == {"the sandbox was closed"}
    with pytest.raises(SandboxError, match="closed"):
        sandbox.submit("1")
    assert eventually(lambda: descendants(os.getpid()) <= processes)
    assert eventually(lambda: leftovers() == files)
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


@pytest.mark.parametrize(("jail", "end"), [("bubblewrap", "exit"), *((jail, "kill") for jail in JAILS)])
def test_workers_end_with_their_caller(jail: str, end: str) -> None:
    """A caller that forgets to close, and one that is killed with its workers busy."""
    files = leftovers()
    command = [sys.executable, "-c", CALLER, jail, "wait" if end == "kill" else "go"]
    caller = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert caller.stdout is not None
        assert caller.stdout.readline() == "ready\n"
        workers = descendants(caller.pid)
        if end == "kill":
            assert workers
            caller.kill()
        assert caller.wait(10) == (-signal.SIGKILL if end == "kill" else 0)
        assert eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
        assert eventually(lambda: leftovers() == files)
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
    with build_sandbox(cold(jail="bubblewrap", workers=1, queue=2)) as sandbox:
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
    with build_sandbox(cold(jail="bubblewrap", workers=1)) as sandbox:
        busy = [sandbox.submit("import time\ntime.sleep(0.1)", trajectory="busy") for _ in range(20)]
        start = time.monotonic()
        assert sandbox.run("print(1)", trajectory="modest").stdout == "1\n"
        assert time.monotonic() - start < 1.6
        assert not busy[-1].done()
        for future in busy:
            future.cancel()


def test_a_deadline_includes_the_queue() -> None:
    with build_sandbox(cold(jail="bubblewrap", workers=1, wall_seconds=3)) as sandbox:
        busy = sandbox.submit("import time\ntime.sleep(2)")
        start = time.monotonic()
        queued = sandbox.submit("print(1)", within=0.3)
        result = queued.result()
        assert (result.status, "still queued" in (result.error or "")) == (Status.INFRASTRUCTURE, True)
        assert 0.25 < time.monotonic() - start < 1.8
        assert busy.result().status is Status.OK
        cut = sandbox.run("import time\ntime.sleep(2)", within=0.4)  # not the program's fault
        assert (cut.status, "running at its deadline" in (cut.error or "")) == (Status.INFRASTRUCTURE, True)
        assert sandbox.run("import time\ntime.sleep(9)", within=60).status is Status.TIMEOUT
        assert sandbox.stats()["infrastructure"] == 2


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

    with build_sandbox(cold(jail="bubblewrap", workers=1, queue=2)) as sandbox:
        asyncio.run(main())


def test_children_that_died_waiting_are_not_used() -> None:
    """The kernel kills when memory is short; the program that would have run in them is not to blame."""
    with build_sandbox(cold(jail="bubblewrap", workers=1, waiting=3)) as sandbox:
        assert isinstance(sandbox, WorkerPool)
        (jail,) = sandbox.pids()

        def waiting() -> list[int]:
            """The worker's children; without any the worker itself is a leaf, the only one below the jail."""
            below = descendants(jail)
            return leaves([jail]) if len(below) > 1 else []

        assert eventually(lambda: len(waiting()) == 3)
        for pid in waiting():
            os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: not waiting())
        assert (sandbox.run("print(1)").stdout, sandbox.pids()) == ("1\n", [jail])
        assert eventually(lambda: len(waiting()) == 3)


def test_workers_that_died_while_idle_cost_nothing(two: WorkerPool) -> None:
    """All at once: a program must not use up its tries on one dead worker after the other."""
    before = two.stats()["infrastructure"]
    for pid in two.pids():
        os.kill(pid, signal.SIGKILL)
    futures = [two.submit(f"print({token})") for token in range(8)]
    assert [future.result().stdout for future in futures] == [f"{token}\n" for token in range(8)]
    assert two.stats()["infrastructure"] == before


def test_what_one_program_wrote_takes_no_room_from_the_next() -> None:
    """Queued right behind, it starts before the files of the one before are gone."""
    code = "for i in range(14): open(str(i), 'wb').write(bytes(10**6))\nprint('written')"
    with build_sandbox(cold(jail="bubblewrap", workers=1)) as sandbox:
        futures = [sandbox.submit(code) for _ in range(20)]
        assert [(f.result().stdout, f.result().error) for f in futures] == [("written\n", None)] * 20


class Doomed(Lane):
    """The first of them dies with its first program, and none can be started after that."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1
        self._number = type(self).made

    def start(self) -> list[str]:
        if self._number > 2:
            raise LaneFailure("no more lanes")
        return []

    def execute(self, order: Order) -> ExecutionResult:
        time.sleep(0.02)
        if self._number == 1:
            raise LaneFailure("dead")
        return ExecutionResult(Status.OK, order.code, None, 0.0)

    def interrupt(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_a_lane_that_cannot_be_replaced_leaves_the_programs_to_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("src.sandbox.pool._START_PAUSES", (0.0,))
    monkeypatch.setattr(Doomed, "made", 0)
    with WorkerPool("doomed", 2, Doomed, cold()) as sandbox:
        futures = [sandbox.submit(str(token)) for token in range(40)]
        assert [future.result().stdout for future in futures] == [str(token) for token in range(40)]
        assert sandbox.stats()["infrastructure"] == 0


def test_the_interface_is_what_callers_rely_on(two: WorkerPool) -> None:
    sandbox: Sandbox = two
    assert (sandbox.jail in JAILS, sandbox.workers) == (True, 2)
