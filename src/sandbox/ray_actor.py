"""A Ray actor with one worker in a jail of its node. Does not import torch."""

from __future__ import annotations

import platform
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from src.config import SandboxConfig
from src.sandbox.api import ExecutionResult, SandboxError
from src.sandbox.client import WorkerClient
from src.sandbox.jails import AUTOMATIC, JAILS
from src.sandbox.lane import LaneFailure, Order
from src.sandbox.mounts import find_mounts


class Seat:
    """Its methods are called from several threads, those of a Ray actor with ``max_concurrency``."""

    def __init__(self, cfg: SandboxConfig) -> None:
        self._cfg = cfg
        self._worker: WorkerClient | None = None
        self._running: tuple[int, Order] | None = None  # the last one
        self._cancelled = 0
        # A worker dies with the thread that started it, and Ray does not say how long its threads live.
        self._thread = ThreadPoolExecutor(max_workers=1)

    def node(self) -> str:
        """Ray's id of this node."""
        import ray  # always set in an actor

        node: str = ray.get_runtime_context().get_node_id()
        return node

    def start(self) -> tuple[str, list[str]]:
        """Start the worker; return its jail and the missing protections. Raises as Lane.start does."""
        return self._thread.submit(self._start).result()

    def execute(self, number: int, order: Order) -> ExecutionResult:
        """See Lane.execute; ``number`` names this execution for :meth:`cancel`."""
        return self._thread.submit(self._execute, number, order).result()

    def cancel(self, number: int) -> None:
        """End execution ``number``, running or about to run, and no other."""
        self._cancelled = number
        running = self._running
        if self._worker is not None and running is not None and running[0] == number:
            self._worker.cancel(running[1])

    def forget(self, trajectory: str) -> None:
        """See Lane.forget."""
        if self._worker is not None:
            self._worker.forget(trajectory)

    def _start(self) -> tuple[str, list[str]]:
        """Take the first jail that works on this node; ``auto`` never takes ``unconfined``."""
        try:
            find_mounts(self._cfg)
        except SandboxError as error:
            raise SandboxError(
                f"node {platform.node()}: {error} (packages and files must exist on every node)"
            ) from None
        names = AUTOMATIC if self._cfg.jail == "auto" else (self._cfg.jail,)
        reasons = []
        for name in names:
            try:
                return name, self._start_in(name)
            except (LaneFailure, OSError, SandboxError) as error:
                if self._worker is not None:
                    self._worker.close()
                reasons.append(f"{name}: {error}")
        raise SandboxError(f"no jail works on node {platform.node()}: {'; '.join(reasons)}")

    def _start_in(self, name: str) -> list[str]:
        cfg = replace(self._cfg, jail=name)
        jail = JAILS[name](cfg)
        reason = jail.unavailable()
        if reason is not None:
            raise SandboxError(reason)
        self._worker = WorkerClient(jail, cfg)
        return self._worker.start()

    def _execute(self, number: int, order: Order) -> ExecutionResult:
        if self._worker is None:
            raise LaneFailure("it was not started")
        self._running = number, order
        if self._cancelled == number:  # cancelled before it started
            self._worker.cancel(order)
        return self._worker.execute(order)
