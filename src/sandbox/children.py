"""The worker's children: forked by the zygote ahead of time, already confined, each waiting for its program.

Runs inside the jail, with the standard library only. A fork takes a few milliseconds and confinement half a
millisecond; done ahead of time, neither delays a program. A child that has run is killed as soon as it has
reported; it is reaped, and its folder emptied, when the worker is idle.
"""

from __future__ import annotations

import collections
import contextlib
import os
import select
import signal
from dataclasses import dataclass, field

from src.sandbox.folders import SPARE_FOLDERS, clear_beside, restore
from src.sandbox.zygote import Usage, Zygote


@dataclass(eq=False)
class Slot:
    """A working directory, the only place where its programs can write.

    ``number``: what the zygote calls it. ``folder``: where it is now: while its program runs ``work``, the
    same for all; otherwise it is closed, under a name that nobody can guess: Landlock lets programs ask for
    names.
    """

    number: int
    folder: str
    home: str = field(init=False)

    def __post_init__(self) -> None:
        self.home = self.folder


@dataclass(eq=False)
class Child:
    """A forked child: the worker's ends of its pipes, and a pidfd that is readable once it has ended."""

    zygote: Zygote
    pid: int
    slot: Slot
    orders: int
    output: int
    report: int
    ended: int = field(init=False)
    confined: bool = False  # its first byte has been read
    resident: int = 0  # bytes that only it has, when its last program ended
    held: tuple[int, int] = (0, 0)  # bytes and number of the files that its programs have left
    untouched: int | None = None  # date of its folder while nothing was made there, then -1
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

    def has_ended(self, within: float = 0.0) -> bool:
        """Whether it has ended, or does ``within`` seconds."""
        if self.reaped:
            return True
        poll = select.poll()
        poll.register(self.ended, select.POLLIN)
        return bool(poll.poll(within * 1000))

    def reap(self) -> Usage:
        """Wait for its end. Raises ZygoteError."""
        usage = self.zygote.reap(self.pid)
        self.reaped = True
        os.close(self.ended)
        return usage

    def close(self) -> None:
        """Close our ends of its pipes."""
        for fd in (self.orders, self.output, self.report):
            os.close(fd)


class Children:
    """Keeps ``waiting`` children ready; at most ``most`` are used at a time.

    Without Landlock only the working directory's emptying keeps one program's files from the next, and then
    none waits, and one is used at a time. ``data``: the folder that each finds as ``data`` in its own.
    """

    def __init__(self, zygote: Zygote, scratch: str, waiting: int, most: int, data: str | None) -> None:
        self._zygote, self._scratch, self._data = zygote, scratch, data
        self._separates = zygote.separates
        self._waiting = waiting if self._separates else 0
        self._most = self._waiting + most + SPARE_FOLDERS if self._separates else 1
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
        """Whether there is deferrable work: forking ahead, or cleaning up after a child that has ended."""
        return len(self._ready) < self._waiting or any(child.has_ended() for child in self._leaving)

    def ending(self) -> list[int]:
        """Return descriptors that become readable when a killed child has ended."""
        return [child.ended for child in self._leaving if not child.reaped]

    def take(self) -> Child:
        """Return a child that waits for a program, in an open folder. Raises OSError or ZygoteError."""
        while True:
            if not self._ready:
                self.prepare()
            child = self._ready.popleft()
            if not child.has_ended():
                self.open(child)
                return child
            self.retire(child)  # for example, the kernel was short of memory: not caused by the next program

    def prepare(self) -> None:
        """Have one more forked. Raises OSError or ZygoteError."""
        slot = self._slot()
        if self._data is not None:
            os.symlink(self._data, os.path.join(slot.folder, "data"))
        orders_end, orders = os.pipe()
        output, output_end = os.pipe()
        report, report_end = os.pipe()
        ends = os.open(slot.folder, os.O_PATH | os.O_DIRECTORY), orders_end, output_end, report_end
        pid = self._zygote.fork(slot.number, *ends)
        for fd in ends:
            os.close(fd)
        if self._separates:
            os.chmod(slot.folder, 0)
        self._ready.append(Child(self._zygote, pid, slot, orders, output, report))

    def improve(self) -> None:
        """Do one piece of deferrable work."""
        if len(self._ready) < self._waiting:
            self.prepare()
        else:
            self._reap_ended()

    def open(self, child: Child) -> None:
        """Open the folder of ``child``, whose program is about to run."""
        if self._separates:
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
        if not self._separates:
            self._reap(self._leaving.popleft())

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
        self._reap_ended()
        if not self._free and self._slots >= self._most:
            self._reap(self._leaving.popleft())
        if self._free:
            return self._free.pop()
        number = self._slots
        folder = os.path.join(self._scratch, os.urandom(16).hex()) if self._separates else self._work
        os.makedirs(folder, exist_ok=True)
        self._slots += 1
        return Slot(number, folder)

    def _reap_ended(self) -> None:
        """Clean up after the killed children that have ended: a large one takes a while."""
        for _ in range(len(self._leaving)):
            child = self._leaving.popleft()
            if child.has_ended():
                self._reap(child)
            else:
                self._leaving.append(child)

    def _reap(self, child: Child) -> None:
        if not child.reaped:
            child.reap()
        restore(child.slot.folder)
        if not self._separates:
            clear_beside(child.slot.folder)
        self._free.append(child.slot)
