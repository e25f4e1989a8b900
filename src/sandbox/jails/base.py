"""What a jail is to the pool, and which files of the host a worker needs."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from src.config import SandboxConfig
from src.config.installed import OPTIONAL_PACKAGES, REQUIRED_PACKAGES
from src.sandbox.api import SandboxError
from src.sandbox.folders import FILES_OF_FULL_SIZE, SPARE_FOLDERS
from src.sandbox.mounts import find_mounts

_LOG_BYTES = 2000
DEVICES = ("/dev/null", "/dev/full", "/dev/random", "/dev/urandom")  # no zero: mapped, it is memory

# fixed for every worker: hash order, and one thread per numpy call, are part of reproducible output
ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",  # an arena per thread would eat up the address space that a program may use
    "LC_ALL": "C.UTF-8",
}

# The worker's modules come through its first frame, so that no jail has to show the repository.
_BOOTSTRAP = """
import json, os, sys, types
def read(count):
    parts = b""
    while len(parts) < count:
        part = os.read(0, count - len(parts))
        if not part:
            os._exit(0)
        parts += part
    return parts
settings = json.loads(read(int.from_bytes(read(4), "big")))
for name, source in settings.pop("modules").items():
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, "<" + name + ">", "exec"), module.__dict__)
sys.modules["src.sandbox.worker"].main(settings)
"""
_MODULES = (  # in import order
    "protocol",
    "seccomp",
    "landlock",
    "folders",
    "snapshot",
    "confine",
    "program",
    "zygote",
    "children",
    "holdings",
    "supervise",
    "worker",
)


def interpreter(executable: str) -> list[str]:
    """Command line of a worker: no site packages, no bytecode written, nothing from the current directory."""
    return [executable, "-S", "-s", "-B", "-P", "-c", _BOOTSTRAP]


def worker_modules() -> dict[str, str]:
    """Sources of what runs inside the jail, by module name."""
    folder = Path(__file__).parent.parent
    return {f"src.sandbox.{name}": (folder / f"{name}.py").read_text() for name in _MODULES}


@dataclass(frozen=True)
class PythonFiles:
    """Where the interpreter and the packages of a worker lie on the host."""

    executable: str
    prefix: str
    stdlib: str
    packages: dict[str, str]
    package_libraries: list[str]  # numpy.libs and the like, found relative to the packages
    libraries: list[str]  # system library folders and the dynamic linker's cache
    python_libraries: list[str]  # shared libraries in the prefix


def find_python() -> PythonFiles:
    """The base interpreter of this process. Raises SandboxError when a required package is not installed."""
    prefix = os.path.realpath(sys.base_prefix)
    executable = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    packages, beside = {}, []
    for name in (*REQUIRED_PACKAGES, *OPTIONAL_PACKAGES):
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            if name in REQUIRED_PACKAGES:
                raise SandboxError(f"the sandbox needs {name}, which is not installed: pip install {name}")
            continue
        packages[name] = os.path.realpath(next(iter(spec.submodule_search_locations)))
        libraries = packages[name] + ".libs"
        if os.path.isdir(libraries):
            beside.append(libraries)
    arch = sysconfig.get_config_var("MULTIARCH") or "none"
    folders = [f"/lib/{arch}", f"/usr/lib/{arch}", "/lib64", "/usr/lib64"]
    if not any(map(os.path.isdir, folders[:2])):
        folders += ["/lib", "/usr/lib"]
    shared = []
    if prefix != "/usr":
        shared = sorted(str(path) for path in Path(prefix, "lib").glob("*.so*") if path.is_file())
    return PythonFiles(
        executable=executable,
        prefix=prefix,
        stdlib=os.path.realpath(sysconfig.get_path("stdlib")),
        packages=packages,
        package_libraries=beside,
        libraries=[path for path in (*folders, "/etc/ld.so.cache") if os.path.exists(path)],
        python_libraries=shared,
    )


def writable_mb(cfg: SandboxConfig) -> int:
    """Size of a worker's file system: no program finds it full of what others keep or have just left."""
    living = cfg.sessions if cfg.state == "session" else 1
    return int(cfg.file_mb * FILES_OF_FULL_SIZE * (living + SPARE_FOLDERS) + 1)


class Channel(ABC):
    """The bytes to and from a worker. Neither way blocks: wait with poll on ``input`` or ``output``."""

    input: int  # descriptors, for poll
    output: int

    @abstractmethod
    def write(self, data: memoryview) -> int:
        """Send the beginning of ``data``; how much that was. Raises OSError when the worker is gone."""

    @abstractmethod
    def read(self, count: int) -> bytes:
        """Up to ``count`` bytes, nothing at the end. Raises BlockingIOError when there is none yet."""


class Pipes(Channel):
    """To a child process on this machine."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.input, self.output = process.stdin.fileno(), process.stdout.fileno()
        os.set_blocking(self.input, False)
        os.set_blocking(self.output, False)

    def write(self, data: memoryview) -> int:
        """See Channel.write."""
        return os.write(self.input, data[: 1 << 12])  # fits whenever poll says so

    def read(self, count: int) -> bytes:
        """See Channel.read."""
        return os.read(self.output, count)


class Launched(ABC):
    """A started worker, which waits for its first frame, and the jail's part of its settings."""

    channel: Channel
    settings: dict[str, Any]
    pid: int  # of its outermost process on this machine

    @abstractmethod
    def interrupt(self) -> None:
        """Kill it without waiting; from any thread."""

    @abstractmethod
    def close(self) -> None:
        """Kill it with all that is in its jail, wait, and leave nothing behind. Idempotent."""

    @abstractmethod
    def last_words(self) -> str:
        """The end of what it or its jail wrote to stderr."""


class LaunchedProcess(Launched):
    """A worker that is a child process, started by :func:`spawn`; ``cleanup`` is called in the end."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        log: IO[bytes],
        settings: dict[str, Any],
        cleanup: Callable[[], None] = lambda: None,
    ) -> None:
        self.channel, self.settings, self.pid = Pipes(process), settings, process.pid
        self._process, self._log, self._cleanup = process, log, cleanup

    def interrupt(self) -> None:
        """See Launched.interrupt."""
        self._kill()

    def close(self) -> None:
        """See Launched.close."""
        if self._process.returncode is None:
            self._kill()
            self._process.wait()
        if self._process.stdin is not None and self._process.stdout is not None:
            self._process.stdin.close()
            self._process.stdout.close()
        self._log.close()
        self._cleanup()

    def _kill(self) -> None:
        """Kill it with its group: a jail that is being made may have a part that does not end with it yet."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # it is leaving, or has left
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()

    def last_words(self) -> str:
        """See Launched.last_words."""
        log = self._log.fileno()
        start = max(os.fstat(log).st_size - _LOG_BYTES, 0)
        return os.pread(log, _LOG_BYTES, start).decode(errors="replace").strip()


_EXPENDABLE = '{ echo 500 > /proc/self/oom_score_adj; } 2>/dev/null; exec "$@"'


class Jail(ABC):
    """One kind of isolation. The module of each says what it guarantees and what it does not.

    ``mounts`` are the user's modules and files that programs can read. Raises SandboxError if any is missing.
    """

    name: str
    isolates_files = True

    def __init__(self, cfg: SandboxConfig) -> None:
        self._cfg, self.mounts = cfg, find_mounts(cfg)

    @abstractmethod
    def unavailable(self) -> str | None:
        """Why it cannot be used here, as far as one sees without starting it, and the remedy; or None."""

    @abstractmethod
    def launch(self, limits: dict[str, Any]) -> Launched:
        """Start a worker process, which then waits for its first frame. Raises OSError or SandboxError."""


def spawn(command: list[str], environment: dict[str, str]) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    """Start ``command`` with pipes on 0 and 1, its stderr in a nameless file, in a session of its own.

    When memory is short, the kernel ends it before it ends the caller.
    """
    log = tempfile.TemporaryFile()  # noqa: SIM115 - handed on
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _EXPENDABLE, "sh", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            cwd="/",
            bufsize=0,
            start_new_session=True,  # Ctrl-C at a terminal is for the caller alone
        )
    except BaseException:
        log.close()
        raise
    return process, log
