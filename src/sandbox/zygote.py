"""The zygote: the warm interpreter from which every program's process is forked.

Runs inside the jail, with the standard library and the packages that it warms. Every child is a copy of its
memory, so it is told numbers only, of folders and of processes: never a program, an output, or anything else
of a trajectory. The worker, which is told these, forks nobody but the zygote, before its first request.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import gc
import importlib
import importlib.machinery
import importlib.util
import json
import os
import random
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple, NoReturn, cast

from src.sandbox.confine import Confinement, tie_to
from src.sandbox.landlock import Domain
from src.sandbox.program import open_streams, serve
from src.sandbox.snapshot import take_snapshot

CONFINED = b"C"  # first byte of every report: written by our code, before the program runs
_FORK, _REAP = 1, 2
_ORDER = struct.Struct("=ii")  # what to do, and the number of a folder or a process
_FORKED = struct.Struct("=i")  # process id, or -1
_REAPED = struct.Struct("=idq")  # wait status, CPU seconds, largest resident bytes
_READY_BYTES = 1 << 16


class ZygoteError(Exception):
    """The zygote has ended or cannot fork."""


class Usage(NamedTuple):
    """How a child ended: wait status, CPU seconds, and the most memory that was resident, in bytes."""

    status: int
    cpu_seconds: float
    resident: int


class Zygote:
    """The worker's side of a zygote, which this starts. Raises ZygoteError if it does not get ready.

    Attributes:
        pid: its process id.
        missing: what the kernel lacks, as ``Confinement.missing``.
        separates: whether each program is in a Landlock domain of its own.
        one_process: whether programs cannot create processes.
        resident: resident bytes of a child before it runs anything.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self._line, line = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        worker = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            self._line.close()
            _run(settings, line, worker)
        line.close()
        ready = self._line.recv(_READY_BYTES)
        if not ready:
            raise ZygoteError("it ended before it was ready")
        known = json.loads(ready)
        self.missing: list[str] = known["missing"]
        self.separates: bool = known["separates"]
        self.one_process: bool = known["one_process"]
        self.resident: int = known["resident"]

    def fork(self, number: int, folder: int, orders: int, output: int, report: int) -> int:
        """Fork a child that waits for its first program, and return its process id.

        Args:
            number: of its working directory, always the same.
            folder: descriptor of that, whose name the zygote does not know.
            orders: descriptor from which it reads programs.
            output: that of its standard output.
            report: that of its reports.

        Raises:
            ZygoteError: too many processes, too little memory, or the zygote has ended.
        """
        try:
            socket.send_fds(self._line, [_ORDER.pack(_FORK, number)], [folder, orders, output, report])
            (pid,) = _FORKED.unpack(self._line.recv(_FORKED.size))
        except (OSError, struct.error) as error:
            raise ZygoteError("it has ended") from error
        if pid < 0:
            raise ZygoteError("fork failed: too many processes or too little memory")
        return int(pid)

    def reap(self, pid: int) -> Usage:
        """Wait until the child ``pid`` has ended. Raises ZygoteError."""
        try:
            self._line.send(_ORDER.pack(_REAP, pid))
            return Usage(*_REAPED.unpack(self._line.recv(_REAPED.size)))
        except (OSError, struct.error) as error:
            raise ZygoteError("it has ended") from error

    def fileno(self) -> int:
        """Return a descriptor with an event, for poll, once it has ended."""
        return self._line.fileno()

    def end(self) -> None:
        """End it, and with it all its children."""
        self._line.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


class PackageFinder:
    """Finds the packages that the jail exposes, and no others of site-packages."""

    def __init__(self, packages: dict[str, str]) -> None:
        self._packages = packages

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return a spec for an exposed top-level package, None for anything else."""
        folder = self._packages.get(name)
        if folder is None:
            return None
        return importlib.util.spec_from_file_location(
            name, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
        )


class _Nursery:
    """Forks children on order of the worker; the zygote's only state."""

    def __init__(self, settings: dict[str, Any], line: socket.socket) -> None:
        self._line = line
        self._scratch, self._keep = settings["scratch"], settings["state"] != "fresh"
        self._echoes = settings["echo"]
        self._confinement = Confinement(settings)
        self._domains: dict[int, Domain | None] = {}
        self._streams = open_streams()
        self._fork = _find_fork()

    def serve(self) -> NoReturn:
        """Obey the worker until it closes the line."""
        confinement = self._confinement
        ready = {
            "missing": confinement.missing,
            "separates": confinement.separates,
            "one_process": confinement.one_process,
            "resident": _resident_of_a_child(),
        }
        self._line.send(json.dumps(ready).encode())
        while True:
            message, ends, _flags, _address = socket.recv_fds(self._line, _ORDER.size, 4)
            if not message:
                os._exit(0)
            what, number = _ORDER.unpack(message)
            if what == _FORK:
                self._line.send(_FORKED.pack(self._child(number, ends)))
            else:
                _pid, status, usage = os.wait4(number, 0)
                seconds, resident = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
                self._line.send(_REAPED.pack(status, seconds, resident))

    def _child(self, number: int, ends: list[int]) -> int:
        """Fork; return the process id, or -1."""
        folder, *pipes = ends
        zygote = os.getpid()
        if number not in self._domains:
            self._domains[number] = self._confinement.domain(folder)
        os.fchdir(folder)  # for the child: the worker closes the folder once it has our answer
        pid = self._fork()
        if pid == 0:
            self._become(self._domains[number], zygote, *pipes)
        os.chdir(self._scratch)
        for fd in ends:
            os.close(fd)
        return pid

    def _become(self, domain: Domain | None, zygote: int, orders: int, output: int, report: int) -> NoReturn:
        """Turn the calling process, just forked, into a child that waits."""
        try:
            # files of its own; all of these descriptors are above 4, since the zygote keeps 3 and 4 taken
            nothing, nowhere = os.open(os.devnull, os.O_RDONLY), os.open(os.devnull, os.O_WRONLY)
            for place, fd in enumerate((nothing, output, nowhere, report, orders)):
                os.dup2(fd, place)
            self._confinement.enter(zygote, domain)
            os.closerange(5, 1 << 16)
            os.write(3, CONFINED)
            serve(self._streams, orders=4, report=3, keep=self._keep, echoes=self._echoes)
        except BaseException as error:
            os.write(3, f"{type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(1)


def _run(settings: dict[str, Any], line: socket.socket, worker: int) -> NoReturn:
    """Turn the calling process, just forked, into the zygote."""
    try:
        tie_to(worker)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (3, 4):  # the worker's requests and answers
            os.dup2(null, fd)
        os.close(null)
        _warm(settings["packages"], settings["warm"])
        if "modules" in settings["mounts"]:
            sys.path.append(settings["mounts"]["modules"])  # looked into when a program imports, not before
        _forget_ourselves()
        gc.collect()
        gc.freeze()
        take_snapshot()
        _Nursery(settings, line).serve()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(1)


def _find_fork() -> Callable[[], int]:
    """glibc's ``_Fork`` (since 2.34), else ``os.fork``.

    Python's own preparations after a fork reset what other threads may have held. The zygote has none, and
    they touch 250 pages in every child, a third of its cost.
    """
    if threading.active_count() > 1:  # started by a statement of the warm-up
        return _fork
    try:
        return cast(Callable[[], int], ctypes.PyDLL(None)._Fork)
    except AttributeError:
        return _fork


def _fork() -> int:
    """``os.fork``, but -1 for a failure, as glibc's has."""
    try:
        pid = os.fork()
    except OSError:
        return -1
    if pid == 0:
        random.seed(0)  # Python seeds it anew in a child
    return pid


def _resident_of_a_child() -> int:
    """Return the bytes of memory of a child before it runs anything."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    return os.wait4(pid, 0)[2].ru_maxrss * 1024


def _warm(packages: dict[str, str], statements: list[str]) -> None:
    """Import and exercise packages, so that programs need not fill caches or import lazily."""
    sys.meta_path.append(PackageFinder(packages))
    namespace: dict[str, Any] = {}
    for statement in statements:
        exec(statement, namespace)
    if "tzdata" in packages:  # the system's own are not to be read in every jail
        importlib.import_module("zoneinfo").reset_tzpath(to=())
    site = importlib.import_module("_sitebuiltins")  # absent without the site module
    for name in ("exit", "quit"):
        setattr(builtins, name, site.Quitter(name, "Ctrl-D (i.e. EOF)"))
    # every program then draws the same random numbers, in any worker and when it is replayed
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)


def _forget_ourselves() -> None:
    """Hide the worker's modules and environment from programs."""
    for name in [name for name in sys.modules if name.startswith("src.")]:
        del sys.modules[name]
    os.environ.clear()
