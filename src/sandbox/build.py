"""From the configuration to a running sandbox: which jail, and the proof that it holds."""

from __future__ import annotations

import logging
import secrets
import tempfile
from dataclasses import replace

from src.config import SandboxConfig
from src.sandbox.api import Sandbox, SandboxError, Status
from src.sandbox.jails import AUTOMATIC, JAILS
from src.sandbox.pool import WorkerPool

_log = logging.getLogger(__name__)


def build_sandbox(cfg: SandboxConfig) -> Sandbox:
    """Start the pool of ``cfg``; ``auto`` takes the first jail that really works, and never none.

    Raises SandboxError, with every reason and remedy, when no jail works.
    """
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
        "no jail works here, and code is not run without one unless asked for:\n"
        + "\n".join(reasons)
        + "\nRemedies: apt-get install bubblewrap; pip install sandlock; "
        "or, at your own risk, sandbox=unconfined"
    )


def _start(cfg: SandboxConfig) -> WorkerPool:
    jail = JAILS[cfg.jail]()
    reason = jail.unavailable()
    if reason is not None:
        raise SandboxError(f"{jail.name}: {reason}")
    pool = WorkerPool(jail, cfg)
    try:
        _prove(pool, jail.isolates_files)
    except BaseException:
        pool.close()
        raise
    pool.forget_stats()
    return pool


def _prove(pool: WorkerPool, isolates_files: bool) -> None:
    """A program that works and a file that must stay out of reach. Raises SandboxError."""
    result = pool.run("print(6 * 7)")
    if result.status is not Status.OK or result.stdout != "42\n":
        raise SandboxError(f"{pool.jail}: a correct program gave {result}")
    if not isolates_files:
        return
    secret = secrets.token_hex(16)
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(secret)
        file.flush()
        result = pool.run(f"print(open({file.name!r}).read())")
        if result.status is not Status.ERROR or secret in result.stdout:
            raise SandboxError(f"{pool.jail}: a forbidden file could be read; do not use this jail here")
