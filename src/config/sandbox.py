"""Where programs run, and their limits."""

from __future__ import annotations

from dataclasses import dataclass, field

from src.config.mounts import absolute, is_path
from src.config.schema import option


@dataclass
class DockerConfig:
    """The container of a worker; for ``sandbox.jail=docker``."""

    image: str = option("cir-sandbox", "made by make sandbox-image")
    runtime: str | None = option(None, "null: the daemon's default; runsc: gVisor")


@dataclass
class RayConfig:
    """Workers as actors of a Ray cluster; for ``sandbox.backend=ray``."""

    address: str = option(
        "auto", "auto: the cluster that this machine belongs to; local: one of its own; or HOST:PORT"
    )
    cpus_per_worker: float = option(1.0, "a share of one, or a whole number", above=0)


@dataclass
class SandboxFusionConfig:
    """A SandboxFusion service; for ``sandbox.backend=sandbox_fusion``."""

    url: str | None = option(None, "say, http://localhost:8080; its /run_code is called")
    retries: int = option(3, "of one request, when the service is busy or out of reach", at_least=0)
    pause_seconds: float = option(0.5, "before the first retry; doubles, with jitter", above=0)


@dataclass
class SandboxConfig:
    """Where model-written code runs, and its limits per execution."""

    backend: str = option(
        "local",
        "local: workers on this machine; ray: over a cluster; sandbox_fusion: a service",
        choices=("local", "ray", "sandbox_fusion"),
    )
    jail: str = option(
        "auto",
        "auto: the first of bubblewrap and sandlock that works here, never none",
        choices=("auto", "bubblewrap", "sandlock", "docker", "unconfined"),
    )
    workers: int = option(
        0,
        "warm interpreters, about 80 MB each, of each process of a run; 0: together one per core",
        at_least=0,
    )
    state: str = option(
        "fresh",
        "what a program finds of the trajectory's earlier ones: fresh: nothing; replay: what they leave when "
        "they are run again; session: their process",
        choices=("fresh", "replay", "session"),
    )
    undo: bool = option(
        True,
        "state=session: a failed program leaves nothing behind; false: it leaves what it had defined before "
        "it failed, as in a notebook, unless its process had to be ended",
    )
    warm: list[str] = option(
        ["numpy", "sympy"],
        "what a worker imports and exercises first; sets of src/sandbox/warm_up.py",
        choices=("numpy", "sympy", "scipy"),
    )
    packages: list[str] = option(
        [],
        "what programs may import beside Python's modules, numpy, sympy, mpmath and, where installed, scipy, "
        "gmpy2 and tzdata: paths, of modules FILE.py and of packages' folders, or names of installed "
        "packages",
    )
    files: list[str] | dict[str, str] | None = option(
        None,
        "files and folders that programs can read as data/NAME: paths, or names with paths; null: none",
    )
    waiting: int = option(2, "children forked ahead of need, per worker", at_least=0)
    sessions: int = option(
        64,
        "state=session: the most that live at once, per worker; others are replayed when needed",
        at_least=1,
    )
    sessions_mb: int = option(
        2048, "state=session: memory of all that live at once, per worker; the oldest end first", at_least=64
    )
    wall_seconds: float = option(5.0, "of one execution, by the clock", above=0)
    cpu_seconds: float = option(5.0, "of one execution, of all its threads", above=0)
    trajectory_seconds: float = option(
        60.0, "state other than fresh: of all programs of a trajectory, replays included", above=0
    )
    memory_mb: int = option(512, "of one execution, beside the warm interpreter", at_least=64)
    processes: int = option(16, "threads of the one process that a program is; 1: no threads", at_least=1)
    file_mb: float = option(1.0, "of each file; all together at most 16 times that", above=0)
    output_kb: int = option(64, "what is beyond is cut off", at_least=1)
    echo: bool = option(
        True,
        "show the value of a program's last expression, as a notebook does; false: only what it prints, as "
        "in the paper's released code",
    )
    queue: int = option(100_000, "programs that may wait; beyond, submitting waits", at_least=1)
    deadline_seconds: float = option(
        600.0, "queued programs are infrastructure failures after this time without any being served", above=0
    )
    start_seconds: float = option(60.0, "a worker that is not warm by then has failed", above=0)
    docker: DockerConfig = field(default_factory=DockerConfig)
    ray: RayConfig = field(default_factory=RayConfig)
    sandbox_fusion: SandboxFusionConfig = field(default_factory=SandboxFusionConfig)

    def __post_init__(self) -> None:
        """Let paths begin at the root: relative ones at the working directory."""
        self.packages = [absolute(one) if is_path(one) else one for one in self.packages]
        if isinstance(self.files, dict):
            self.files = {name: absolute(path) for name, path in self.files.items()} or None
        elif self.files is not None:
            self.files = [absolute(path) for path in self.files] or None
