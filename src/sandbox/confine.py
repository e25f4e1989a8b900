"""How each child confines itself before it reads the program. Standard library only."""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
import os
import resource
import signal
import struct
from typing import Any

from src.sandbox.landlock import Domain, abi
from src.sandbox.seccomp import Filter

_SET_PDEATHSIG, _SET_DUMPABLE, _SET_NO_NEW_PRIVS, _SET_CHILD_SUBREAPER = 1, 4, 38, 36
_OPEN_FILES, _PENDING_SIGNALS = 64, 64


_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]


def _prctl(option: int, value: int) -> None:
    """Raises OSError when the kernel refuses."""
    if _libc.prctl(option, value, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"prctl {option}: {os.strerror(number)}")


def protect() -> None:
    """Make orphaned descendants children of the worker, which calls this, and drop its privileges."""
    _prctl(_SET_CHILD_SUBREAPER, 1)
    _prctl(_SET_DUMPABLE, 0)  # closes its /proc entries to its children
    if _libc.capset(struct.pack("=Ii", 0x20080522, 0), bytes(24)):  # version 3, this process: none
        raise OSError(ctypes.get_errno(), "capset")


def tie_to(parent: int) -> None:
    """Have the calling process killed when its parent, the process ``parent``, ends."""
    _prctl(_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it ended before the line above


class Confinement:
    """Limits, Landlock domain and seccomp filter, prepared by the zygote, entered by each child.

    ``strict`` False (no jail) continues without what the kernel lacks; :attr:`missing` names it.
    ``no_filter`` is why there must be no filter.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        limits = settings["limits"]
        self.missing: list[str] = []
        wanted = {
            resource.RLIMIT_AS: _mapped_bytes() + limits["memory_mb"] * 2**20,
            resource.RLIMIT_FSIZE: int(limits["file_mb"] * 2**20),
            resource.RLIMIT_CORE: 1,  # the kernel then starts no crash handler either, as it would with 0
            resource.RLIMIT_NOFILE: _OPEN_FILES,
            resource.RLIMIT_MEMLOCK: 0,
            resource.RLIMIT_SIGPENDING: _PENDING_SIGNALS,  # the user has one queue for all processes
        }
        if settings["state"] == "fresh":  # a backstop of one program's; the worker watches the exact limit
            wanted[resource.RLIMIT_CPU] = math.ceil(limits["cpu_seconds"]) + 1
        if settings["own_process_count"]:  # the jail's other processes count too, those that wait and live on
            others = settings["waiting"] + settings["sessions"] * (settings["state"] == "session")
            wanted[resource.RLIMIT_NPROC] = limits["processes"] * (1 + others) + 8
        self._limits = []
        for kind, value in wanted.items():
            hard = resource.getrlimit(kind)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            self._limits.append((kind, (value, value)))
        self._readable, self._listable = settings["readable"], settings["listable"]
        self.separates = bool(settings["landlock"] and abi())
        if settings["landlock"] and not self.separates:
            if settings["landlock"] == "required":
                raise OSError("the kernel has no Landlock")
            self.missing.append("Landlock")
        if settings["state"] == "session" and not self.separates:
            raise OSError(
                "sandbox.state=session needs Landlock, which keeps the files of living programs apart; "
                "use sandbox.state=replay here"
            )
        self._filter: Filter | None = None
        if "no_filter" in settings:
            self.missing.append(f"seccomp ({settings['no_filter']})")
            return
        try:
            self._filter = Filter(threads=limits["processes"] > 1)
        except OSError as error:
            if settings["strict"]:
                raise
            self.missing.append(f"seccomp ({error})")

    @property
    def one_process(self) -> bool:
        """Whether programs cannot create processes."""
        return self._filter is not None

    def domain(self, folder: int) -> Domain | None:
        """Return the domain of a program with a working directory, by its descriptor. Raises OSError."""
        return Domain(self._readable, self._listable, folder) if self.separates else None

    def enter(self, zygote: int, domain: Domain | None) -> None:
        """Confine the calling child permanently. Raises OSError if a required step is refused."""
        os.setsid()
        _prctl(_SET_DUMPABLE, 1)  # the worker must see its threads, also where /proc hides what is another's
        tie_to(zygote)
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")  # when memory is short, the program goes before its worker
        for kind, values in self._limits:
            resource.setrlimit(kind, values)
        _prctl(_SET_NO_NEW_PRIVS, 1)
        if domain is not None:
            domain.enter()
        if self._filter is not None:
            self._filter.install()


def _mapped_bytes() -> int:
    """Return the address space of the warm zygote, on top of which a program gets its own.

    Found by trying limits, since not every jail shows it /proc.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    low, high = 0, 2**40
    try:
        while high - low > 2**16:
            middle = (low + high) // 2
            resource.setrlimit(resource.RLIMIT_AS, (middle, hard))
            try:
                mmap.mmap(-1, mmap.PAGESIZE).close()
                high = middle
            except (OSError, MemoryError):
                low = middle
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    return high
