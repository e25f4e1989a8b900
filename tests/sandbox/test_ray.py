"""The pool over a Ray cluster of three nodes on this machine: results, lost actors and nodes, and leaving."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from src.config import DockerConfig, RayConfig, SandboxConfig
from src.config.paths import ROOT
from src.sandbox import ExecutionResult, SandboxError, Status, build_sandbox
from src.sandbox.ray_lane import RayLane, RayPool
from tests.sandbox.helpers import descendants, eventually

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head without CPUs, and two nodes with one each; with Ray's own settings for health checks."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    made.add_node(num_cpus=1)
    made.add_node(num_cpus=1)
    yield made
    made.shutdown()


@pytest.fixture(autouse=True)
def disconnected() -> Iterator[None]:
    yield
    assert not ray.is_initialized(), "a closed pool leaves no connection"


def config(cluster: Cluster, **changes: Any) -> SandboxConfig:
    return SandboxConfig(backend="ray", warm=[], ray=RayConfig(address=cluster.address), **changes)


def start(cfg: SandboxConfig) -> RayPool:
    pool = build_sandbox(cfg)
    assert isinstance(pool, RayPool)
    return pool


@pytest.fixture
def two(cluster: Cluster) -> Iterator[RayPool]:
    with start(config(cluster)) as made:
        yield made


def seats() -> set[int]:
    """Processes that are our actors."""
    found = set()
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::Seat"):
                found.add(pid)
    return found


class SteadyLoad:
    """Programs that come one after another from some threads, each printing a token of its own."""

    def __init__(self, pool: RayPool, threads: int = 4) -> None:
        self._pool, self._stop = pool, threading.Event()
        self.seconds: list[float] = []  # from submitting to the result
        self.wrong: list[ExecutionResult] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            token, began = secrets.token_hex(8), time.monotonic()
            result = self._pool.run(f"import time; time.sleep(0.01); print({token!r})")
            self.seconds.append(time.monotonic() - began)
            if (result.status, result.stdout) != (Status.OK, token + "\n"):
                self.wrong.append(result)

    def __enter__(self) -> SteadyLoad:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_programs_run_on_every_node_and_results_are_right(two: RayPool) -> None:
    assert two.workers == 2
    assert len(set(two.nodes())) == 2
    assert two.jail in {"ray:bubblewrap", "ray:sandlock"}
    assert two.run("x = 6\nx * 7").stdout == "42\n"
    assert two.run("1/0").error == "ZeroDivisionError: division by zero"
    assert two.run("while True: pass", within=1.0).status is Status.TIMEOUT, "it began in time"
    futures = {token: two.submit(f"print({token})") for token in range(200)}
    for token, future in futures.items():
        assert future.result() == ExecutionResult(Status.OK, f"{token}\n", None, future.result().seconds)
    assert two.stats()["restarts"] == 0


def test_limits_hold_there(cluster: Cluster) -> None:
    with start(config(cluster, workers=1, wall_seconds=0.3)) as pool:
        result = pool.run("print(1)\nwhile True: pass")
        assert (result.status, result.stdout) == (Status.TIMEOUT, "1\n")
        assert pool.run("open('/etc/shadow')").status is Status.ERROR
        assert pool.run("import socket; socket.socket()").status is Status.ERROR
        assert pool.stats()["restarts"] == 0


def test_a_running_program_can_be_cancelled_and_the_next_is_not_hit(two: RayPool) -> None:
    future: Future[ExecutionResult] = two.submit("import time; time.sleep(4)")
    assert eventually(future.running)
    time.sleep(0.3)
    start = time.monotonic()
    two.cancel(future)
    assert future.result().status is Status.KILLED
    assert time.monotonic() - start < 1
    for lane in two._lanes.values():
        assert isinstance(lane, RayLane)
        lane._tell("cancel", lane._number)  # a word that comes too late
    assert all(two.run("print(1)").status is Status.OK for _ in range(10))
    futures = [two.submit("import time; time.sleep(4)") for _ in range(20)]
    for cancelled in futures:  # at whatever moment: queued, about to run, or running
        while not (cancelled.running() or cancelled.cancelled()):
            time.sleep(0.0001)
        two.cancel(cancelled)
    statuses = {one.result().status for one in futures if not one.cancelled()}
    assert statuses == {Status.KILLED}
    assert time.monotonic() - start < 4
    assert two.stats()["restarts"] == 0


@pytest.mark.parametrize("state", ["replay", "session"])
def test_trajectories_keep_their_state(cluster: Cluster, state: str) -> None:
    with start(config(cluster, state=state)) as pool:
        for name in "ab":
            assert pool.run(f"x = {name!r}; print('silent')", trajectory=name).status is Status.OK
        for name in "ab":
            assert pool.run("x", trajectory=name).stdout == f"{name!r}\n"
        pool.end("a")
        assert pool.run("x", trajectory="a").status is Status.ERROR


def test_a_killed_actor_is_replaced_and_its_program_runs_again(two: RayPool) -> None:
    with SteadyLoad(two) as load:
        time.sleep(0.5)
        killed = time.monotonic()
        os.kill(min(seats()), signal.SIGKILL)
        assert eventually(lambda: two.stats()["restarts"] >= 1 and len(two.nodes()) == 2)
        recovered = time.monotonic() - killed
        time.sleep(0.5)
    print(f"a killed actor: lanes back after {recovered:.2f} s, longest program {max(load.seconds):.2f} s")
    assert load.wrong == []
    assert max(recovered, *load.seconds) < 5
    assert two.stats()["infrastructure"] == 0


def test_a_node_killed_under_load_costs_nothing(cluster: Cluster) -> None:
    node = cluster.add_node(num_cpus=1)
    with start(config(cluster)) as pool:
        assert len(set(pool.nodes())) == pool.workers == 3
        raylet = node.all_processes["raylet"][0].process
        actors = descendants(raylet.pid) & seats()
        assert len(actors) == 1
        with SteadyLoad(pool) as load:
            time.sleep(0.5)
            killed = time.monotonic()
            for pid in [raylet.pid, *actors]:
                os.kill(pid, signal.SIGKILL)  # all at once, as when a machine is gone
            # the others' CPUs are all taken: what is left of the cluster is shared
            assert eventually(lambda: len(pool.nodes()) == 3 and node.node_id not in pool.nodes(), 20)
            recovered = time.monotonic() - killed
            time.sleep(0.5)
        print(f"a killed node: lanes back after {recovered:.2f} s, longest program {max(load.seconds):.2f} s")
        assert load.wrong == []
        assert max(recovered, *load.seconds) < 5
        assert pool.stats()["infrastructure"] == 0
        cluster.remove_node(node, allow_graceful=False)
        assert eventually(lambda: sum(one["Alive"] for one in ray.nodes()) == 3, 30), "Ray finds out"


def test_closing_leaves_nothing_and_ends_what_runs(cluster: Cluster) -> None:
    with start(config(cluster)) as pool:
        actors = seats()
        jails = set.union(*map(descendants, actors))
        assert len(actors) == 2
        assert len(jails) >= 2
        future = pool.submit("import time; time.sleep(4)")
        assert eventually(future.running)
        began = time.monotonic()
    assert future.result().status is Status.INFRASTRUCTURE
    assert time.monotonic() - began < 3
    assert eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in actors | jails))


def test_a_connection_of_the_caller_is_left_alone(cluster: Cluster) -> None:
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        with start(config(cluster, workers=1)) as pool:
            assert pool.run("print(1)").stdout == "1\n"
        assert ray.is_initialized()
        assert eventually(lambda: not seats())
    finally:
        ray.shutdown()


def test_two_pools_share_a_connection(cluster: Cluster) -> None:
    first, second = start(config(cluster, workers=1)), start(config(cluster, workers=1))
    first.close()
    assert second.run("print(1)").stdout == "1\n"
    second.close()


def test_too_few_cpus_are_an_error(cluster: Cluster) -> None:
    with pytest.raises(SandboxError, match=r"room for 2 workers with 1 CPUs each, and 9 are wanted; remedy"):
        build_sandbox(config(cluster, workers=9))


def test_taken_cpus_are_an_error_within_the_time_to_start(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.sandbox.pool._START_PAUSES", (0.0,))
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        others = [ray.remote(num_cpus=1)(threading.Event).remote() for _ in range(2)]
        time.sleep(1)
        with pytest.raises(SandboxError, match=r"did not place an actor with 1 CPUs within 2 s"):
            build_sandbox(config(cluster, start_seconds=2.0))
        for other in others:
            ray.kill(other)
    finally:
        ray.shutdown()


def test_a_node_without_a_working_jail_says_why(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.sandbox.pool._START_PAUSES", (0.0,))
    with pytest.raises(SandboxError, match=r"no jail works on node .*docker"):
        build_sandbox(config(cluster, workers=1, jail="docker", docker=DockerConfig(image="no-such-image")))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense"])
def test_no_cluster_is_an_error_soon(address: str) -> None:
    began = time.monotonic()
    with pytest.raises(SandboxError, match=f"no cluster at sandbox.ray.address={address}.*remedy: ray start"):
        build_sandbox(SandboxConfig(backend="ray", ray=RayConfig(address=address)))
    assert time.monotonic() - began < 5


def test_without_ray_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "src.sandbox.ray_lane")
    with pytest.raises(SandboxError, match="pip install ray"):
        build_sandbox(SandboxConfig(backend="ray"))


ALONE = """
import sys
from src.config import DockerConfig, RayConfig, SandboxConfig
from src.sandbox import build_sandbox
cfg = SandboxConfig(backend="ray", warm=[], workers=1, ray=RayConfig(address="local"))
with build_sandbox(cfg) as sandbox:
    print(sandbox.run("print(6 * 7)").stdout, end="")
assert "torch" not in sys.modules
"""


def test_a_cluster_of_ones_own_prints_nothing_and_ends_with_the_pool(tmp_path: Path) -> None:
    script = tmp_path / "alone.py"
    script.write_text(ALONE)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=60
    )
    assert (ran.returncode, ran.stdout) == (0, "42\n"), ran.stderr
