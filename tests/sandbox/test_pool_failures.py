"""The pool when workers fail: killed, hanging, talking nonsense, not starting."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from src.config import SandboxConfig
from src.sandbox import ExecutionResult, SandboxError, Status, build_sandbox
from src.sandbox import client as client_module
from src.sandbox.client import WorkerClient
from src.sandbox.jails.base import Jail, Launched, LaunchedProcess, spawn
from src.sandbox.jails.bubblewrap import Bubblewrap
from src.sandbox.lane import Lane, LaneFailure, Order
from src.sandbox.pool import WorkerPool
from tests.jails import in_jail
from tests.sandbox.helpers import cold, descendants, eventually, leaves, worker_and_zygote

JAILS = ["bubblewrap", "sandlock"]
SLEEP = "import time\ntime.sleep(0.7)\nprint('done')"


def test_a_worker_killed_once_costs_nothing(two: WorkerPool) -> None:
    before = two.stats()["restarts"]
    futures = [two.submit(SLEEP) for _ in range(2)]
    time.sleep(0.3)
    os.kill(two.pids()[0], signal.SIGKILL)
    assert [future.result().stdout for future in futures] == ["done\n"] * 2
    assert two.stats()["restarts"] == before + 1
    assert two.stats()["infrastructure"] == 0


@pytest.mark.parametrize("jail", list(map(in_jail, JAILS)))
def test_a_program_under_which_two_workers_died_is_at_fault(jail: str) -> None:
    """Nobody can tell whether it killed them, and it must not gain by that."""
    with build_sandbox(cold(jail=jail, workers=1, waiting=0)) as sandbox:
        assert isinstance(sandbox, WorkerPool)
        future = sandbox.submit("import time\ntime.sleep(4)")
        killed: list[int] = []

        def running() -> bool:
            """A new worker runs the program, not its probe: outermost process, worker, zygote, program."""
            if sandbox.pids() in ([], killed[-1:]):
                return False
            below = descendants(sandbox.pids()[0])
            time.sleep(0.4)
            return len(below) == 3 and descendants(sandbox.pids()[0]) == below

        for _ in range(2):
            assert eventually(running)
            killed += sandbox.pids()
            os.kill(killed[-1], signal.SIGKILL)
        result = future.result()
        assert (result.status, result.error) == (Status.KILLED, "it ended the interpreter that ran it, twice")
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
    answer = {{"id": receive()["id"], "status": "ok", "stdout": "fine", "error": None}}
    answer |= {{"seconds": 0.1, "replay_seconds": 0.0}}
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
    return WorkerPool(jail.name, 1, lambda: WorkerClient(jail, cfg), cfg)


@pytest.mark.usefixtures("unproven")
@pytest.mark.parametrize("nonsense", ANSWERS)
def test_nonsense_once_is_retried_and_twice_is_the_programs_fault(nonsense: str) -> None:
    for bad, status in ((1, Status.OK), (2, Status.KILLED)):
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


def test_children_that_died_waiting_are_not_used() -> None:
    """The kernel kills when memory is short; the program that would have run in them is not to blame."""
    with build_sandbox(cold(workers=1, waiting=3)) as sandbox:
        assert isinstance(sandbox, WorkerPool)
        (jail,) = sandbox.pids()

        def waiting() -> list[int]:
            """The zygote's children; without any the zygote itself is a leaf."""
            below = descendants(jail)
            return leaves([jail]) if len(below) > 2 else []

        assert eventually(lambda: len(waiting()) == 3)
        for pid in waiting():
            os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: not waiting())
        assert (sandbox.run("print(1)").stdout, sandbox.pids()) == ("1\n", [jail])
        assert eventually(lambda: len(waiting()) == 3)


@pytest.mark.parametrize("jail", [in_jail("bubblewrap")])
def test_a_jail_that_is_ended_while_it_is_made_leaves_nothing(jail: str) -> None:
    """Right after its first process has forked the second, which then waits for it."""
    cfg = cold(jail=jail)
    maker, groups = Bubblewrap(cfg), set()
    for _ in range(60):
        launched = maker.launch({"memory_mb": 64})
        children = Path(f"/proc/{launched.pid}/task/{launched.pid}/children")
        assert eventually(lambda children=children: children.read_text() != "")
        launched.interrupt()
        launched.close()
        groups.add(launched.pid)

    def left() -> list[str]:
        """State, parent and group of those that live."""
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has just ended
                found.append(path.read_text().rpartition(")")[2].split()[:3])
        return [" ".join(one) for one in found if one[0] != "Z" and int(one[2]) in groups]

    assert eventually(lambda: not left()), left()


@pytest.mark.parametrize("jail", list(map(in_jail, JAILS)))
@pytest.mark.parametrize("state", ["fresh", "session"])
def test_a_worker_without_its_zygote_is_replaced(jail: str, state: str) -> None:
    """It cannot make another: its own memory has seen programs. Nobody pays for that while none runs."""
    with build_sandbox(cold(jail=jail, state=state, workers=1)) as sandbox:
        assert isinstance(sandbox, WorkerPool)
        assert sandbox.run("a = 1", trajectory="x").status is Status.OK
        for number in range(1, 4):
            below = descendants(sandbox.pids()[0])
            os.kill(worker_and_zygote(sandbox.pids()[0])[1], signal.SIGKILL)
            assert eventually(lambda below=below: not any(Path(f"/proc/{pid}").exists() for pid in below))
            result = sandbox.run("print(2)", trajectory="x")
            assert (result.status, result.stdout) == (Status.OK, "2\n")
            assert sandbox.stats()["restarts"] == number
        running = sandbox.submit("import time\ntime.sleep(1)\nprint(3)", trajectory="x")
        time.sleep(0.4)
        os.kill(worker_and_zygote(sandbox.pids()[0])[1], signal.SIGKILL)
        assert running.result().stdout == "3\n"
        assert sandbox.stats()["infrastructure"] == 0


def test_workers_that_died_while_idle_cost_nothing(two: WorkerPool) -> None:
    """All at once: a program must not use up its tries on one dead worker after the other."""
    before = two.stats()["infrastructure"]
    for pid in two.pids():
        os.kill(pid, signal.SIGKILL)
    futures = [two.submit(f"print({token})") for token in range(8)]
    assert [future.result().stdout for future in futures] == [f"{token}\n" for token in range(8)]
    assert two.stats()["infrastructure"] == before


@pytest.mark.usefixtures("unproven")
def test_nobody_is_blamed_while_no_lane_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers died under it, and then none starts: that is no program's doing."""
    monkeypatch.setattr("src.sandbox.pool._START_PAUSES", (0.0,))
    jail = Scripted("os._exit(0)", 2)
    start = jail.launch

    def launch(limits: dict[str, Any]) -> Launched:
        if jail.started == 2:
            raise OSError("no more workers")
        return start(limits)

    monkeypatch.setattr(jail, "launch", launch)
    with scripted_pool(jail) as sandbox:
        result = sandbox.run("x")
        assert (result.status, result.error) == (Status.INFRASTRUCTURE, "no more workers")


@pytest.mark.usefixtures("unproven")
def test_a_program_that_has_begun_has_no_deadline_for_beginning() -> None:
    """It waits for a new worker when that has passed."""
    jail = Scripted("time.sleep(0.5)\n    os._exit(0)", 2, "time.sleep(0.5)\n" + READY)
    with scripted_pool(jail, wall_seconds=3) as sandbox:
        assert sandbox.run("x", within=0.5).status is Status.KILLED


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
