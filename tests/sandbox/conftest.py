"""One pool to attack per jail, and what must hold after each attack."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator

import pytest

from src.config import SandboxConfig
from src.sandbox import ExecutionResult, Status, build_sandbox
from src.sandbox.pool import WorkerPool
from tests.jails import asked_jails, in_jail
from tests.sandbox.helpers import cold, descendants, eventually

ENVIRONMENT_SECRET = "environment-" + secrets.token_hex(16)
LIMITS = {"workers": 1, "wall_seconds": 1.6, "cpu_seconds": 0.8, "memory_mb": 128}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Whatever uses ``pool`` or ``each_jail`` runs in each jail that is asked for."""
    for fixture in {"pool", "each_jail"}.intersection(metafunc.fixturenames):
        parameters = [in_jail(jail) for jail in asked_jails(metafunc.config)]
        metafunc.parametrize(fixture, parameters, indirect=True, scope="session")


@pytest.fixture(scope="session")
def each_jail(request: pytest.FixtureRequest) -> str:
    """The name of a jail."""
    return str(request.param)


@pytest.fixture(scope="session")
def pool(request: pytest.FixtureRequest) -> Iterator[WorkerPool]:
    """A pool in each jail. A jail that is not available fails the test: the attacks must have been run."""
    os.environ["SANDBOX_TEST_SECRET"] = ENVIRONMENT_SECRET
    try:
        sandbox = build_sandbox(SandboxConfig(jail=request.param, **LIMITS))
    finally:
        del os.environ["SANDBOX_TEST_SECRET"]
    assert isinstance(sandbox, WorkerPool)
    with sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def processes(pool: WorkerPool) -> int:
    """How many processes there are while nothing runs: the worker and the children that wait."""
    assert pool.run("print(1)").status is Status.OK
    time.sleep(0.5)
    return count_processes(pool)


@pytest.fixture(scope="module", params=[in_jail("bubblewrap"), in_jail("sandlock")])
def two(request: pytest.FixtureRequest) -> Iterator[WorkerPool]:
    """Two workers in each jail."""
    with build_sandbox(cold(jail=request.param, workers=2, wall_seconds=3)) as sandbox:
        assert isinstance(sandbox, WorkerPool)
        yield sandbox


def count_processes(pool: WorkerPool) -> int:
    """Processes of the pool's workers."""
    return sum(len(descendants(pid)) for pid in pool.pids())


@pytest.fixture
def attack(pool: WorkerPool, processes: int) -> Callable[[str], ExecutionResult]:
    """Runs a hostile program; then the same worker serves the next one, alone, soon."""

    def run(code: str) -> ExecutionResult:
        workers = pool.pids()
        result = pool.run(code)
        assert result.status is not Status.INFRASTRUCTURE, result
        start, token = time.monotonic(), secrets.token_hex(8)
        after = pool.run(f"print({token!r})")
        assert (after.status, after.stdout) == (Status.OK, token + "\n")
        assert time.monotonic() - start < 5
        assert pool.pids() == workers
        assert eventually(lambda: count_processes(pool) <= processes)
        return result

    return run
