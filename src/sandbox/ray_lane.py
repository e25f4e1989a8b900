"""The pool over a Ray cluster: each lane is an actor with one worker in a jail of its node.

Guaranteed: the guarantees of each node's jail (``sandbox.jail=auto`` takes, on each node, the first that
works), tested on that node before it serves. Actors are spread over the nodes. Losing an actor or a node
loses no program: the pool creates a new actor and retries the execution once, avoiding an unreachable node
for a while. If the rest of the cluster is too small for all workers, they share its CPUs. A cluster, or a
connection, that was not created here is left unchanged.

Not guaranteed: isolation from other users of the cluster (Ray does not isolate users, and programs are sent
unencrypted); quick recovery if a machine vanishes without closing its connections (it is detected by Ray's
health check, by default after some 15 s, or by the time limit of the execution); survival without the head
node, since Ray then ends its drivers. Every node needs this Python version, Ray, the packages of the worker
and a jail; the modules of this project are sent to the nodes, unless the process was already connected to
Ray. A ``ray://`` address needs the package ``ray[client]``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

from src.config import SandboxConfig
from src.run.processes import world_size
from src.sandbox.api import ExecutionResult, SandboxError
from src.sandbox.client import GRACE
from src.sandbox.lane import Lane, LaneFailure, LaneGone, Order, ProgramLost
from src.sandbox.pool import WorkerPool
from src.sandbox.ray_actor import Seat

# Read when Ray is imported: keeps its messages off stdout, which is for results.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
try:
    import ray
    from ray.exceptions import ActorDiedError, GetTimeoutError, RayError, RayTaskError
except ImportError as error:
    raise SandboxError(f"sandbox=ray needs the package ray ({error}); remedy: pip install ray") from error

_log = logging.getLogger(__name__)
_AVOID = 30.0  # seconds without new actors for a node that lost one; Ray then knows whether it is dead
_LOOK = 1.0  # seconds between checks of the size of the cluster
_CONNECT = 10.0  # seconds
# Requested if there are too few CPUs; an actor without any request may be scheduled on a dead node.
_NEXT_TO_NOTHING = {"num_cpus": 0, "memory": 2**20}
_ACTOR: dict[str, Any] = {
    "max_restarts": 0,  # restarts and retries are done by the pool
    "max_task_retries": 0,
    "max_concurrency": 4,  # one call executes, the others cancel and forget
    "scheduling_strategy": "SPREAD",
}


def ray_pool(cfg: SandboxConfig) -> WorkerPool:
    """Start the pool of ``cfg`` on a Ray cluster.

    Raises SandboxError when there is no cluster, it is too small, or a worker cannot start.
    """
    connection = _Connection(cfg.ray.address)
    try:
        return RayPool(cfg, connection)
    except BaseException:
        connection.close()
        raise


class RayPool(WorkerPool):
    """See the module's header; closes ``connection`` in the end."""

    def __init__(self, cfg: SandboxConfig, connection: _Connection) -> None:
        cluster = _Cluster(cfg)
        self._connection = connection
        super().__init__("ray", cluster.workers, lambda: RayLane(cluster, cfg), cfg)
        self.jail = "ray:" + "+".join(sorted(cluster.jails))

    def nodes(self) -> list[str]:
        """Ray's ids of the nodes with serving lanes."""
        with self._lock:
            return [lane.node for lane in self._lanes.values() if isinstance(lane, RayLane) and lane.node]

    def close(self) -> None:
        """See Sandbox.close."""
        super().close()
        self._connection.close()


class _Cluster:
    """State shared by the lanes of a pool: their number, and the nodes to avoid."""

    def __init__(self, cfg: SandboxConfig) -> None:
        self._cpus = cfg.ray.cpus_per_worker
        self._lost: dict[str, float] = {}  # when a node lost an actor
        self.jails: set[str] = set()
        places = self._places()
        self.workers = cfg.workers or places // world_size()
        wanted = max(self.workers, 1) * world_size()
        if wanted > places:
            raise SandboxError(
                f"ray: the cluster has room for {places} workers with {self._cpus:g} CPUs each, and "
                f"{max(self.workers, 1)} are wanted; remedy: add nodes, or lower sandbox.workers or "
                "sandbox.ray.cpus_per_worker"
            )

    def options(self) -> dict[str, Any]:
        """Return where Ray should schedule an actor, and its number of CPUs."""
        now = time.monotonic()
        lost = frozenset(node for node, when in list(self._lost.items()) if now - when < _AVOID)
        places = self._places(lost)
        options: dict[str, Any] = {"num_cpus": self._cpus} if places >= self.workers else {**_NEXT_TO_NOTHING}
        if lost and places:  # do not avoid the only node
            options["label_selector"] = {"ray.io/node-id": f"!in({','.join(sorted(lost))})"}
        return options

    def lost(self, node: str) -> None:
        """Record that an actor on ``node`` is unreachable."""
        self._lost[node] = time.monotonic()

    def _places(self, lost: frozenset[str] = frozenset()) -> int:
        """Return the number of workers for which the CPUs of live nodes suffice."""
        nodes = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] not in lost]
        return sum(int(node["Resources"].get("CPU", 0) / self._cpus) for node in nodes)


class RayLane(Lane):
    """A lane whose worker runs in one actor."""

    def __init__(self, cluster: _Cluster, cfg: SandboxConfig) -> None:
        self._cluster, self._cfg = cluster, cfg
        self._lock = threading.Lock()
        self._actor: Any = None
        self._interrupted = False
        self._number = 0
        self._running: tuple[Order, int] | None = None  # the last one, and its number
        self._cancelled: Order | None = None
        self._node = ""
        self.node = ""  # once it serves

    def start(self) -> list[str]:
        """See Lane.start."""
        deadline = time.monotonic() + self._cfg.start_seconds
        self._node = self._place(deadline)
        jail, missing = self._get(self._actor.start.remote(), deadline + GRACE - time.monotonic())
        self._cluster.jails.add(jail)
        self.node = self._node
        return [f"{what} (node {self._node[:8]})" for what in missing]

    def execute(self, order: Order) -> ExecutionResult:
        """See Lane.execute."""
        self._number += 1
        # the actor's own limit, and a little more
        seconds = order.longest_seconds + 2 * GRACE
        answer = self._actor.execute.remote(self._number, order)
        self._running = order, self._number
        if self._cancelled is order:
            self._tell("cancel", self._number)
        try:
            result: ExecutionResult = self._get(answer, seconds)
        except LaneGone:
            raise
        except LaneFailure as error:  # a node that ran out of memory may be the program's doing
            raise ProgramLost(str(error)) from None
        return result

    def cancel(self, order: Order) -> None:
        """See Lane.cancel."""
        self._cancelled = order
        running = self._running
        if running is not None and running[0] is order:
            self._tell("cancel", running[1])

    def forget(self, trajectory: str) -> None:
        """See Lane.forget."""
        if self._cfg.state == "session":
            self._tell("forget", trajectory)

    def interrupt(self) -> None:
        """See Lane.interrupt."""
        with self._lock:
            self._interrupted = True
            self._kill()

    def close(self) -> None:
        """Kill the actor, and with it the worker and its jail. See Lane.close."""
        with self._lock:
            self._kill()
            self._actor = None

    def _place(self, deadline: float) -> str:
        """Wait until Ray has scheduled the actor; return its node. Raises LaneFailure."""
        options: dict[str, Any] = {}
        while (left := deadline - time.monotonic()) > 0:
            wanted = self._cluster.options()
            with self._lock:
                if self._interrupted:
                    raise LaneFailure("it was interrupted")
                if wanted != options:  # at first, and whenever the cluster has changed
                    options = wanted
                    self._kill()
                    self._actor = ray.remote(Seat).options(**_ACTOR, **options).remote(self._cfg)
                    place = self._actor.node.remote()
            try:
                node: str = ray.get(place, timeout=min(left, _LOOK))
                return node
            except GetTimeoutError:
                continue
            except RayError as error:
                raise LaneFailure(_gist(error)) from None
        raise LaneFailure(
            f"Ray did not place an actor with {options['num_cpus']:g} CPUs within "
            f"{self._cfg.start_seconds:g} s (sandbox.start_seconds); are the CPUs of the cluster taken?"
        )

    def _get(self, reference: Any, seconds: float) -> Any:
        """Return the answer of the actor. Raises LaneFailure or SandboxError."""
        try:
            return ray.get(reference, timeout=max(seconds, 0))
        except RayTaskError as error:  # raised in the actor
            if isinstance(error.cause, SandboxError):
                raise SandboxError(str(error.cause)) from None
            gone = isinstance(error.cause, LaneGone)  # before it had received the program
            raise (LaneGone if gone else LaneFailure)(str(error.cause)) from None
        except GetTimeoutError:
            self._cluster.lost(self._node)
            raise LaneFailure(f"its actor on node {self._node} did not answer in time") from None
        except ActorDiedError as error:  # Ray knows, so that it also knows whether the node lives
            raise LaneFailure(_gist(error)) from None
        except RayError as error:
            self._cluster.lost(self._node)
            raise LaneFailure(_gist(error)) from None

    def _tell(self, method: str, argument: Any) -> None:
        """Call a method of the actor without waiting; ignored if the actor is gone."""
        with self._lock, contextlib.suppress(RayError):
            if self._actor is not None:
                getattr(self._actor, method).remote(argument)

    def _kill(self) -> None:
        if self._actor is not None:
            with contextlib.suppress(RayError):
                ray.kill(self._actor)


def _gist(error: BaseException) -> str:
    """Shorten one of Ray's page-long messages to its start and, at the end, the cause."""
    lines = str(error).strip().splitlines() or [""]
    why = f" ... {lines[-1].strip()}" if len(lines) > 1 else ""
    return f"{type(error).__name__}: {lines[0].strip()}{why}"


class _Connection:
    """A pool's reference to this process's connection to Ray: the first opens it, the last closes it.

    An existing connection is used and left open. Raises SandboxError.
    """

    _lock = threading.Lock()
    _open: ClassVar[set[_Connection]] = set()

    def __init__(self, address: str) -> None:
        with self._lock:
            if not ray.is_initialized():
                _initialize(address)
            elif not self._open:
                return  # someone else's
            self._open.add(self)

    def close(self) -> None:
        """Idempotent."""
        with self._lock:
            if self in self._open:
                self._open.remove(self)
                if not self._open:
                    ray.shutdown()


def _initialize(address: str) -> None:
    remedy = "remedy: ray start --head there, or sandbox.ray.address=local for a cluster on this machine only"
    settings: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    source = str(Path(__file__).parents[1])
    try:
        _reach(os.environ.get("RAY_ADDRESS", "") if address == "auto" else address)
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.WARNING,
            runtime_env={"py_modules": [source], "excludes": ["**/__pycache__"]},
            **settings,
        )
    except (ConnectionError, OSError, RayError, RuntimeError, ValueError) as error:
        raise SandboxError(f"ray: no cluster at sandbox.ray.address={address}: {error}; {remedy}") from error


def _reach(address: str) -> None:
    """Try to connect to HOST:PORT, because Ray itself would wait for minutes. Raises OSError."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT).close()
