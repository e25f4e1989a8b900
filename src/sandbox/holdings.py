"""What a program holds beside its address space: files with and without names. Standard library only.

A private file system tells exactly how much it holds, named or not, wherever it was moved to. On one that is
shared with the host, the program's folder is walked, with the program stopped if it may be moving things out
of sight, and its files without a name are counted: each is as large as a file may be at most.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import time
from collections.abc import Iterator

from src.sandbox.children import Child
from src.sandbox.folders import FILES_OF_FULL_SIZE, MOST_ENTRIES, Fit, walk

_NAMELESS = " (deleted)"  # after the path of a mapped file that is gone
_OURS = "/memfd:"  # of the zygote's snapshot; programs cannot make such files
_STOPPING = 0.02  # seconds for a program to stop, in which all its threads must come to rest


class Holdings:
    """Watches one program at a time.

    Args:
        scratch: the worker's folder.
        private: whether that is a file system of its own.
        file_mb: limit of a file, in MB.
        open_files: limit of a program's open files.
    """

    def __init__(self, scratch: str, private: bool, file_mb: float, open_files: int) -> None:
        self._scratch, self._private, self._open_files = scratch, private, open_files
        self.most_bytes = int(file_mb * FILES_OF_FULL_SIZE * 2**20)
        self._before = (0, 0)

    def begin(self, child: Child) -> None:
        """Note what there is before the next program of ``child``."""
        if self._private:
            size, count = self._used()
            self._before = size - child.held[0], count - child.held[1]

    def end(self, child: Child) -> None:
        """Note what ``child``, which lives on, keeps."""
        if self._private:
            child.held = self._grown()

    def too_much(self, child: Child) -> bool:
        """Whether the program holds more than it may. Raises OSError if it cannot be looked at."""
        if self._private:
            size, count = self._grown()
            if size > self.most_bytes or count > MOST_ENTRIES:
                return True
            return walk(child.slot.folder, self.most_bytes) is Fit.EXCEEDS
        fit = walk(child.slot.folder, self.most_bytes)
        if fit is Fit.UNSURE:
            with _stopped(child):
                fit = walk(child.slot.folder, self.most_bytes)
        return fit is Fit.EXCEEDS or self._nameless(child.pid) > FILES_OF_FULL_SIZE

    def resident(self, child: Child) -> int:
        """Return the bytes of memory that ``child`` has beside what it shares with the zygote."""
        with open(f"/proc/{child.pid}/statm") as file:
            pages = int(file.read().split()[1])
        return max(pages * os.sysconf("SC_PAGE_SIZE") - child.zygote.resident, 0)

    def _used(self) -> tuple[int, int]:
        found = os.statvfs(self._scratch)
        return (found.f_blocks - found.f_bfree) * found.f_frsize, found.f_files - found.f_ffree

    def _grown(self) -> tuple[int, int]:
        size, count = self._used()
        return size - self._before[0], count - self._before[1]

    def _nameless(self, pid: int) -> int:
        """Return how many files without a name a process has mapped or open."""
        found: set[tuple[int, int]] = set()
        with open(f"/proc/{pid}/maps") as file:
            for line in file:
                if line.endswith(_NAMELESS + "\n"):
                    _addresses, _rights, _offset, device, inode, path = line.split(maxsplit=5)
                    if not path.startswith(_OURS):
                        major, minor = (int(part, 16) for part in device.split(":"))
                        found.add((os.makedev(major, minor), int(inode)))
        for number in range(self._open_files):
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(f"/proc/{pid}/fd/{number}")
                if stat.S_ISREG(status.st_mode) and not status.st_nlink:
                    found.add((status.st_dev, status.st_ino))
        return len(found)


@contextlib.contextmanager
def _stopped(child: Child) -> Iterator[None]:
    """Stop a program for the length of a ``with`` block, unless it does not stop."""
    child.signal(signal.SIGSTOP)
    try:
        until = time.monotonic() + _STOPPING
        while time.monotonic() < until:
            with open(f"/proc/{child.pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] in "TZX":
                    break
        yield
    finally:
        child.signal(signal.SIGCONT)
