"""Where programs run, and their limits."""

from __future__ import annotations

from dataclasses import dataclass, field

from src.config.schema import option


@dataclass
class DockerConfig:
    """The container of a worker; for ``sandbox.jail=docker``."""

    image: str = "cir-sandbox"  # made by make sandbox-image
    runtime: str | None = None  # None: the daemon's default; runsc: gVisor


@dataclass
class RayConfig:
    """Workers as actors of a Ray cluster; for ``sandbox.backend=ray``."""

    address: str = "auto"  # auto: the cluster that this machine belongs to; local: one of its own
    cpus_per_worker: float = option(1.0, above=0)  # a share of one, or a whole number


@dataclass
class SandboxFusionConfig:
    """A SandboxFusion service; for ``sandbox.backend=sandbox_fusion``."""

    url: str | None = None  # say, http://localhost:8080; its /run_code is called
    retries: int = option(3, at_least=0)  # of one request, when the service is busy or out of reach
    pause_seconds: float = option(0.5, above=0)  # before the first of them; doubles, with jitter


@dataclass
class SandboxConfig:
    """Where model-written code runs, and its limits per execution."""

    backend: str = option("local", choices=("local", "ray", "sandbox_fusion"))
    jail: str = option("auto", choices=("auto", "bubblewrap", "sandlock", "docker", "unconfined"))
    workers: int = option(0, at_least=0)  # of each process; 0: together one per core
    state: str = option("fresh", choices=("fresh", "replay", "session"))
    # sets of src/sandbox/warm_up.py
    warm: list[str] = option(["numpy", "sympy"], choices=("numpy", "sympy", "scipy"))
    waiting: int = option(2, at_least=0)  # children forked ahead, per worker
    sessions: int = option(64, at_least=1)  # state=session: the most that live at once, per worker
    wall_seconds: float = option(5.0, above=0)
    cpu_seconds: float = option(5.0, above=0)
    trajectory_seconds: float = option(60.0, above=0)  # state other than fresh: of all its programs
    memory_mb: int = option(512, at_least=64)
    processes: int = option(16, at_least=1)
    file_mb: float = option(1.0, above=0)
    output_kb: int = option(64, at_least=1)
    queue: int = option(100_000, at_least=1)  # programs that may wait; then submit does
    deadline_seconds: float = option(600.0, above=0)  # of one execution, with its time in the queue
    start_seconds: float = option(60.0, above=0)  # a worker that is not ready by then has failed
    docker: DockerConfig = field(default_factory=DockerConfig)
    ray: RayConfig = field(default_factory=RayConfig)
    sandbox_fusion: SandboxFusionConfig = field(default_factory=SandboxFusionConfig)
