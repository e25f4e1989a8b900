"""The worker's children: forked ahead of time, already confined, each waiting for its first program.

Runs inside the jail, with the standard library only. A fork takes a few milliseconds and confinement half a
millisecond; done ahead of time, neither delays a program. A child that has run is killed as soon as it has
reported; it is reaped, and its folder emptied, when the worker is idle.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn, cast

from src.sandbox.confine import Confinement
from src.sandbox.folders import SPARE_FOLDERS, clear_beside, restore
from src.sandbox.landlock import Domain
from src.sandbox.program import open_streams, serve

CONFINED = b"C"  # first byte of every report: written by our code, before the program runs


def _find_fork() -> Callable[[], int]:
    """glibc's ``_Fork`` (since 2.34), else ``os.fork``.

    Python's own preparations after a fork reset what other threads may have held. The worker has none, and
    they touch 250 pages in every child, a third of its cost.
    """
    if threading.active_count() > 1:  # started by a statement of the warm-up
        return os.fork
    try:
        return cast(Callable[[], int], ctypes.PyDLL(None)._Fork)
    except AttributeError:
        return os.fork


@dataclass(eq=False)
class Slot:
    """A working directory, and the Landlock domain whose only writable place it is.

    ``folder``: where it is now. While its program runs that is ``work``, the same for all; otherwise it is
    closed, under a name of its own: Landlock would let other programs look for names, and read links.
    """

    folder: str
    domain: Domain | None
    home: str = field(init=False)

    def __post_init__(self) -> None:
        self.home = self.folder


@dataclass(eq=False)
class Child:
    """A forked child: the worker's ends of its pipes, and a pidfd that is readable once it has ended."""

    pid: int
    slot: Slot
    orders: int
    output: int
    report: int
    ended: int = field(init=False)
    confined: bool = False  # its first byte has been read
    reaped: bool = False

    def __post_init__(self) -> None:
        self.ended = os.pidfd_open(self.pid)
        for fd in (self.orders, self.output, self.report):
            os.set_blocking(fd, False)

    def signal(self, number: int) -> None:
        """Send signal ``number`` to its process group."""
        if self.reaped:
            return
        for send in (os.kill, os.killpg):
            # it may be gone, or not the leader of a group yet
            with contextlib.suppress(ProcessLookupError, PermissionError):
                send(self.pid, number)

    def close(self) -> None:
        """Close our ends."""
        for fd in (self.orders, self.output, self.report, self.ended):
            os.close(fd)


class Children:
    """Keeps ``waiting`` children ready; at most ``most`` are used at a time.

    Without Landlock only the working directory's emptying keeps one program's files from the next, and then
    none waits, and one is used at a time. ``data``: the folder that each finds as ``data`` in its own.
    """

    def __init__(
        self, confinement: Confinement, scratch: str, waiting: int, most: int, keep: bool, data: str | None
    ) -> None:
        self._confinement, self._scratch, self._keep, self._data = confinement, scratch, keep, data
        alone = not confinement.separates
        self._waiting = 0 if alone else waiting
        self._most = 1 if alone else self._waiting + most + SPARE_FOLDERS
        self._fork = _find_fork()
        self._stdout = open_streams()
        self._work = os.path.join(scratch, "work")
        self._free: list[Slot] = []
        self._slots = 0
        self._ready: collections.deque[Child] = collections.deque()
        self._leaving: collections.deque[Child] = collections.deque()

    @property
    def spent(self) -> bool:
        """Whether no child is ready although some should be, so that one must be forked now."""
        return self._waiting > 0 and not self._ready

    @property
    def busy(self) -> bool:
        """Whether there is deferrable work: forking ahead, or cleaning up."""
        return len(self._ready) < self._waiting or bool(self._leaving)

    def take(self) -> Child:
        """Return a child that waits for a program, in an open folder. Raises OSError."""
        while True:
            if not self._ready:
                self.prepare()
            child = self._ready.popleft()
            if os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                self.open(child)
                return child
            self.retire(child)  # for example, the kernel was short of memory: not caused by the next program

    def prepare(self) -> None:
        """Fork one more. Raises OSError."""
        slot = self._slot()
        if self._data is not None:
            os.symlink(self._data, os.path.join(slot.folder, "data"))
        os.chdir(slot.folder)  # for the child
        orders_end, orders = os.pipe()
        output, output_end = os.pipe()
        report, report_end = os.pipe()
        worker = os.getpid()
        pid = self._fork()
        if pid == 0:
            self._become(slot, worker, orders_end, output_end, report_end)
        os.chdir(self._scratch)
        for fd in (orders_end, output_end, report_end):
            os.close(fd)
        if pid < 0:
            raise OSError("fork failed: too many processes or too little memory")
        if self._confinement.separates:
            os.chmod(slot.folder, 0)
        self._ready.append(Child(pid, slot, orders, output, report))

    def improve(self) -> None:
        """Do one piece of deferrable work."""
        if len(self._ready) < self._waiting:
            self.prepare()
        elif self._leaving:
            self._reap(self._leaving.popleft())

    def open(self, child: Child) -> None:
        """Open the folder of ``child``, whose program is about to run."""
        if self._confinement.separates:
            os.chmod(child.slot.folder, 0o700)
            os.rename(child.slot.folder, self._work)
            child.slot.folder = self._work

    def shut(self, child: Child) -> None:
        """Close the folder of ``child``, whose program does not run, or is about to die."""
        if child.slot.folder != child.slot.home:
            os.rename(child.slot.folder, child.slot.home)
            child.slot.folder = child.slot.home
            os.chmod(child.slot.folder, 0)

    def retire(self, child: Child) -> None:
        """Kill ``child``, and forget about it."""
        child.signal(signal.SIGKILL)
        child.close()
        self.shut(child)
        self._leaving.append(child)
        if not self._confinement.separates:
            self._reap(self._leaving.popleft())

    def known(self) -> set[int]:
        """Process ids of children that wait or are not reaped yet."""
        return {child.pid for child in (*self._ready, *self._leaving) if not child.reaped}

    def end(self) -> None:
        """Kill and reap waiting and ending children, and remove their folders."""
        while self._ready:
            self.retire(self._ready.popleft())
        while self._leaving:
            self._reap(self._leaving.popleft())
        for slot in self._free:
            with contextlib.suppress(OSError):
                os.rmdir(slot.folder)

    def _slot(self) -> Slot:
        """Return a free folder: an old one, a new one, or the next to become free."""
        for _ in range(len(self._leaving)):
            child = self._leaving.popleft()
            if child.reaped or os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                self._reap(child)
            else:
                self._leaving.append(child)
        if not self._free and self._slots >= self._most:
            self._reap(self._leaving.popleft())
        if self._free:
            return self._free.pop()
        separate = self._confinement.separates
        folder = os.path.join(self._scratch, f"other{self._slots}") if separate else self._work
        os.makedirs(folder, exist_ok=True)
        self._slots += 1
        return Slot(folder, self._confinement.domain(folder))

    def _reap(self, child: Child) -> None:
        if not child.reaped:
            os.waitpid(child.pid, 0)
            child.reaped = True
        restore(child.slot.folder)
        if not self._confinement.separates:
            clear_beside(child.slot.folder)
        self._free.append(child.slot)

    def _become(self, slot: Slot, worker: int, orders: int, output: int, report: int) -> NoReturn:
        """Turn the calling process, just forked, into a child that waits."""
        try:
            # the ends of new pipes are above 4: the worker's own two descriptors are 3 and 4
            for fd, place in ((output, 1), (0, 2), (report, 3), (orders, 4)):
                os.dup2(fd, place)
            self._confinement.enter(worker, slot.domain)
            os.closerange(5, 1 << 16)
            os.write(3, CONFINED)
            serve(self._stdout, orders=4, report=3, keep=self._keep)
        except BaseException as error:
            os.write(3, f"{type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(1)
