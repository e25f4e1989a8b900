"""Starts the sandbox of a configuration: backend and jail."""

from __future__ import annotations

import logging
from dataclasses import replace

from src.config import SandboxConfig
from src.run.processes import cores
from src.sandbox.api import Sandbox, SandboxError
from src.sandbox.client import WorkerClient
from src.sandbox.jails import AUTOMATIC, JAILS
from src.sandbox.mounts import find_mounts
from src.sandbox.pool import WorkerPool

_log = logging.getLogger(__name__)


def build_sandbox(cfg: SandboxConfig) -> Sandbox:
    """Start the pool of ``cfg``; ``auto`` takes the first jail that works, never ``unconfined``.

    Raises SandboxError, with all reasons and remedies, if no jail works.
    """
    if cfg.backend != "ray":  # there each node looks for itself
        find_mounts(cfg)
    if cfg.backend != "local":
        return _elsewhere(cfg)
    if cfg.jail != "auto":
        if cfg.jail not in JAILS:
            raise SandboxError(f"sandbox.jail: {cfg.jail!r} is not one of auto, {', '.join(JAILS)}")
        return _start(cfg)
    reasons = []
    for name in AUTOMATIC:
        try:
            sandbox = _start(replace(cfg, jail=name))
        except SandboxError as error:
            _log.warning("sandbox=auto: not %s: %s", name, error)
            reasons.append(f"  {error}")
            continue
        _log.info("sandbox=auto: using %s with %d workers", name, sandbox.workers)
        return sandbox
    raise SandboxError(
        "no jail works here, and code runs without a jail only with sandbox=unconfined:\n"
        + "\n".join(reasons)
        + "\nRemedies: apt-get install bubblewrap; pip install sandlock; "
        "or, at your own risk, sandbox=unconfined"
    )


def _elsewhere(cfg: SandboxConfig) -> Sandbox:
    """Imported here since few users need them."""
    if cfg.backend == "ray":
        from src.sandbox.ray_lane import ray_pool

        return ray_pool(cfg)
    from src.sandbox.fusion_lane import fusion_pool

    return fusion_pool(cfg)


def _start(cfg: SandboxConfig) -> WorkerPool:
    jail = JAILS[cfg.jail](cfg)
    reason = jail.unavailable()
    if reason is not None:
        raise SandboxError(f"{jail.name}: {reason}")
    workers = cfg.workers or cores()
    return WorkerPool(jail.name, workers, lambda: WorkerClient(jail, cfg), cfg)
