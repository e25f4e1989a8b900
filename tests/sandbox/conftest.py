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
from tests.sandbox.helpers import descendants, eventually

ENVIRONMENT_SECRET = "environment-" + secrets.token_hex(16)
LIMITS = {"workers": 1, "wall_seconds": 0.8, "cpu_seconds": 0.8, "memory_mb": 128}


@pytest.fixture(scope="session", params=["bubblewrap", "sandlock"])
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


@pytest.fixture
def attack(pool: WorkerPool) -> Callable[[str], ExecutionResult]:
    """Runs a hostile program; then the same worker serves the next one, alone, within a second."""

    def run(code: str) -> ExecutionResult:
        workers, processes = pool.pids(), descendants(os.getpid())
        result = pool.run(code)
        assert result.status is not Status.INFRASTRUCTURE, result
        start, token = time.monotonic(), secrets.token_hex(8)
        after = pool.run(f"print({token!r})")
        assert (after.status, after.stdout) == (Status.OK, token + "\n")
        assert time.monotonic() - start < 1
        assert pool.pids() == workers
        assert eventually(lambda: descendants(os.getpid()) <= processes)
        return result

    return run
