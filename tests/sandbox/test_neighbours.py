"""One trajectory attacks while fifty others work: their results and their order stand."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from src.sandbox import ExecutionResult, Status, build_sandbox
from src.sandbox.pool import WorkerPool
from tests.sandbox.helpers import cold
from tests.sandbox.test_resources import ATTACKS, BEGIN, STATES

INNOCENT = 50
# what the first program leaves is there for the second in each state but fresh, where it is made again
FIRST = "from threading import Thread\nword = {0!r}\nopen('word', 'w').write(word)\nprint(word)"
SECOND = """
import sqlite3
try:
    word
except NameError:
    word = {0!r}
    open('word', 'w').write(word)
sqlite3.connect('base').execute('create table t (x)')
print(word, open('word').read(), sum(range(10**5)))
"""


@pytest.fixture(scope="module", params=STATES)
def shared(each_jail: str, request: pytest.FixtureRequest) -> Iterator[WorkerPool]:
    with build_sandbox(
        cold(
            jail=each_jail,
            workers=2,
            state=request.param,
            wall_seconds=5,
            cpu_seconds=0.3,
            memory_mb=64,
            trajectory_seconds=600,
        )
    ) as sandbox:
        assert isinstance(sandbox, WorkerPool)
        yield sandbox


def test_innocent_trajectories_do_not_feel_an_attacker(shared: WorkerPool) -> None:
    # those that only wait are left out: they take the wall limit each, and nothing else
    attacks = [code for name, code in ATTACKS.items() if name not in ("signals", "descriptor tables")]
    done: list[str] = []
    running: dict[str, tuple[str, list[Future[ExecutionResult]]]] = {}
    hostile: list[Future[ExecutionResult]] = []
    workers = shared.pids()
    for number in range(INNOCENT):
        if number % 3 == 0 and attacks:
            hostile.append(shared.submit(BEGIN + attacks.pop(), trajectory="hostile"))
        word, trajectory = secrets.token_hex(8), str(number)
        futures = [shared.submit(code.format(word), trajectory=trajectory) for code in (FIRST, SECOND)]
        for turn, future in enumerate(futures):
            future.add_done_callback(lambda _, name=f"{trajectory}.{turn}": done.append(name))
        running[trajectory] = word, futures
    for trajectory, (word, (first, second)) in running.items():
        got = [(future.result().status, future.result().stdout) for future in (first, second)]
        assert got == [(Status.OK, f"{word}\n"), (Status.OK, f"{word} {word} 4999950000\n")], trajectory
        shared.end(trajectory)
    for trajectory in running:
        assert done.index(f"{trajectory}.0") < done.index(f"{trajectory}.1")
    assert all(future.result().status is not Status.INFRASTRUCTURE for future in hostile)
    assert shared.pids() == workers  # none had to be replaced
    shared.end("hostile")
