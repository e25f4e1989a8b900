"""A run that is being disturbed: its commands, its processes, and what it must leave."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import docker  # type: ignore[import-untyped]
from docker.errors import DockerException  # type: ignore[import-untyped]

from experiments.sandbox.processes import below, children
from src.config.paths import ROOT
from src.run import checkpoints
from src.run.records import SUMMARY
from src.sandbox.jails.docker import LABEL

if TYPE_CHECKING:
    from experiments.reliability.server import Server

Process = tuple[int, str]  # process id, and its start time: ids are used again
HOOKS = Path(__file__).parent / "hooks"
_MOUNT_MB = 128
_LOOK = 0.1  # seconds between looks for new processes


@dataclass(frozen=True)
class Subject:
    """A way to run mini_debug, or an evaluation with a vLLM server.

    ``exact``: the same seed gives the same weights, bit for bit.
    """

    name: str
    overrides: tuple[str, ...] = ()
    processes: int = 1
    exact: bool = True
    served: bool = False
    docker: bool = False

    def command(self, folder: Path, port: int, server: Server | None) -> list[str]:
        """Return the command that starts the run, or goes on with it where it has something to go on with."""
        if server is not None:
            given = [f"engine.server.url={server.url}", f"hydra.run.dir={folder}", *self.overrides]
            return [sys.executable, "-m", "src.evaluate", "evaluate.resume=true", *given]
        python = [sys.executable, "-m"]
        if self.processes > 1:
            launch = ["--cpu", "--num_processes", str(self.processes), "--main_process_port", str(port), "-m"]
            python = [sys.executable, "-m", "accelerate.commands.launch", *launch]
        if checkpoints.complete(folder / "checkpoints"):
            return [*python, "src.train", f"trainer.resume={folder}"]
        return [*python, "src.train", "+experiment=mini_debug", *self.given(folder)]

    def given(self, folder: Path) -> list[str]:
        """Return the overrides of a new run."""
        return [f"hydra.run.dir={folder}", "tracking=none", *self.overrides]


SUBJECTS = {
    one.name: one
    for one in (
        Subject("transformers"),
        Subject("sandlock", ("sandbox=sandlock",)),  # whose workers have a launcher
        Subject("two", processes=2, exact=False),
        Subject("docker", ("sandbox=docker",), docker=True),
        Subject("vllm", ("engine=vllm",), exact=False),
        Subject(
            "server",
            ("engine=vllm_server", "benchmark.size=64", "evaluate.modes=[free,code]"),
            exact=False,
            served=True,
        ),
    )
}


@dataclass
class DisturbedRun:
    """A run in a folder of its own. ``mounted``: that is a small file system, so that it can be full."""

    subject: Subject
    base: Path
    port: int
    server: Server | None = None
    mounted: bool = False
    process: subprocess.Popen[bytes] | None = None
    seen: set[Process] = field(default_factory=set)
    roots: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder, self.hooks, self.log = (
            self.base / "disk" / "run",
            self.base / "hooks",
            self.base / "log.txt",
        )
        self.hooks.mkdir(parents=True, exist_ok=True)
        (self.base / "disk").mkdir(exist_ok=True)
        self.mounted = mount(self.base / "disk")
        self._watching = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def start(self) -> None:
        """Start it, or go on with it."""
        if self.server is not None:
            self.server.ensure()
        command = self.subject.command(self.folder, self.port, self.server)
        paths = os.pathsep.join(filter(None, [str(HOOKS), os.environ.get("PYTHONPATH", "")]))
        environment = os.environ | {
            "PYTHONPATH": paths,
            "CHAOS_HOOKS": str(self.hooks),
            "OMP_NUM_THREADS": "1",
        }
        with self.log.open("ab") as log:
            log.write(f"\n$ {' '.join(command)}\n".encode())
            log.flush()
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
                # a shell may have had it ignored, as for what it starts in the background
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        if when := started(self.process.pid):
            self.roots.append((self.process.pid, when))

    def wait(self, seconds: float) -> int | None:
        """Return its exit code, None if it has not ended within ``seconds``."""
        assert self.process is not None
        try:
            return self.process.wait(timeout=max(seconds, 0.0))
        except subprocess.TimeoutExpired:
            return None

    def finished(self) -> bool:
        """Whether it has written its summary, the last thing that a run does."""
        return (self.folder / SUMMARY).is_file()

    def kill(self) -> None:
        """Kill it and all that it started."""
        for pid, _started in self.alive():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def trainers(self) -> list[int]:
        """Process ids of its trainers, without a launcher of several."""
        assert self.process is not None
        if self.process.poll() is not None:
            return []  # its number may be another process's by now
        if self.subject.processes == 1:
            return [self.process.pid]
        return [pid for pid in children().get(self.process.pid, []) if "src.train" in command_line(pid)]

    def workers(self) -> list[int]:
        """Process ids of the outermost processes of its sandboxes' workers."""
        if self.subject.docker:
            return [pid for _name, pid in self.containers() if pid]
        marks = ("bwrap", "sandlock_launcher")
        return [pid for pid in self._below() if any(mark in command_line(pid) for mark in marks)]

    def inside(self) -> list[int]:
        """Process ids of the workers and zygotes inside the sandboxes.

        Not of programs: one that is killed from outside cannot be told from one that did it itself.
        """
        tree = children()
        workers = self.workers()  # in a container, the worker is its first process
        if not self.subject.docker:
            workers = [pid for outermost in workers for pid in tree.get(outermost, [])]
        return sorted({*workers, *(pid for worker in workers for pid in tree.get(worker, []))})

    def graders(self) -> list[int]:
        """Process ids of its grading processes."""
        return [pid for pid in self._below() if "src.rewards.grading_child" in command_line(pid)]

    def servers(self) -> list[int]:
        """Process id of the vLLM server that it uses."""
        return [] if self.server is None else self.server.pids()

    def containers(self) -> list[tuple[str, int]]:
        """Names of the containers of all its processes, with their first process; 0 where none runs."""
        callers = {str(pid) for pid, _started in self.seen}
        try:
            with contextlib.closing(docker.APIClient(**docker.utils.kwargs_from_env())) as client:
                found = client.containers(all=True, filters={"label": LABEL})
                mine = [one["Id"] for one in found if one["Labels"][LABEL] in callers]
                states = [client.inspect_container(name) for name in mine]
        except DockerException:  # one ended meanwhile
            return []
        return [(one["Name"], int(one["State"]["Pid"])) for one in states]

    def alive(self) -> list[Process]:
        """Return those of all the processes that were ever seen which still are."""
        return [one for one in self.seen if started(one[0]) == one[1] and not is_zombie(one[0])]

    def close(self) -> None:
        """Remove its folder; kill what is left."""
        self._watching.set()
        self._watcher.join()
        self.kill()
        wait_until(lambda: not self.alive(), 10.0)
        if self.mounted:
            unmount(self.base / "disk")
        shutil.rmtree(self.base, ignore_errors=True)

    def _below(self) -> list[int]:
        if self.process is None or self.process.poll() is not None:
            return []
        return sorted(below([self.process.pid])[1:])

    def _watch(self) -> None:
        while not self._watching.wait(_LOOK):
            for pid in below(pid for pid, when in self.roots if started(pid) == when):
                if when := started(pid):
                    self.seen.add((pid, when))


def mount(folder: Path) -> bool:
    """Put a small file system in memory on ``folder``; False where that is not allowed."""
    options = f"size={_MOUNT_MB}m".encode()
    return ctypes.CDLL(None).mount(b"chaos", os.fsencode(folder), b"tmpfs", 0, options) == 0


def remount(folder: Path, read_only: bool) -> None:
    """Make a mounted folder read-only, or writable again. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    flags = 32 | int(read_only)  # MS_REMOUNT, MS_RDONLY
    if libc.mount(b"chaos", os.fsencode(folder), b"tmpfs", flags, f"size={_MOUNT_MB}m".encode()):
        raise OSError(ctypes.get_errno(), f"remounting {folder}")


def unmount(folder: Path) -> None:
    """Undo :func:`mount`, even if something still uses the folder."""
    ctypes.CDLL(None).umount2(os.fsencode(folder), 2)  # MNT_DETACH


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def started(pid: int) -> str:
    """When a process started; empty if there is none."""
    found = _stat(pid)
    return found[19] if found else ""


def is_zombie(pid: int) -> bool:
    """Whether a process has ended and only waits for its parent."""
    return _stat(pid)[:1] == ["Z"]


def command_line(pid: int) -> str:
    """Its arguments, joined by blanks; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def wait_until(condition: Callable[[], object], seconds: float) -> bool:
    """Wait until ``condition()`` is true, at most ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
