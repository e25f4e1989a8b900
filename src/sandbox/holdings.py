"""What a program holds beside its address space: files with and without names. Standard library only.

A file system of the worker's own tells exactly how much has been taken of it, named or not, wherever it was
moved to. On one that is shared with the host this is what the program's folder, descriptors and mappings show
while the program is stopped, so that it can move nothing out of sight.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import time
from collections.abc import Iterator

from src.sandbox.children import Child
from src.sandbox.folders import FILES_OF_FULL_SIZE, MOST_ENTRIES, holds_too_much

_STOPPING = 0.02  # seconds for a program to stop, in which all its threads must come to rest
_CLOCK_TICK = 20_000_000  # nanoseconds; what is made within one of the kernel's may leave a folder's date
_OWN_ENTRIES = 4  # what the worker may make beside a program: the folder of the next one, and its link


class Holdings:
    """Watches one program at a time.

    Args:
        scratch: the worker's folder.
        private: whether that is a file system of its own.
        file_mb: limit of a file, in MB.
    """

    def __init__(self, scratch: str, private: bool, file_mb: float) -> None:
        self._scratch, self._private = os.fsencode(scratch), private
        self._most_file = int(file_mb * 2**20)
        self.most_bytes = self._most_file * FILES_OF_FULL_SIZE
        self._before = (0, 0)

    def begin(self, child: Child) -> None:
        """Note what there is before the next program of ``child``."""
        if child.untouched is None:
            date = os.stat(child.slot.folder).st_mtime_ns
            child.untouched = date if time.time_ns() - date > _CLOCK_TICK else -1
        if self._private:
            size, count = self._used()
            self._before = size - child.held[0], count - child.held[1]

    def end(self, child: Child) -> None:
        """Note what ``child``, which lives on, keeps."""
        if self._private:
            size, count = self._grown()
            child.held = max(size, 0), max(count, 0)

    def too_much(self, child: Child) -> bool:
        """Whether the program holds more than it may. Raises OSError if it cannot be looked at."""
        if self._private:
            size, count = self._grown()
            if size > self.most_bytes or count > MOST_ENTRIES + _OWN_ENTRIES:
                return True
        if child.untouched == _date(child.slot.folder):
            return False  # each file had a name at first, and making one changes the date
        child.untouched = -1
        if self._private:
            return holds_too_much(child.slot.folder, self.most_bytes)
        with _stopped(child):
            nameless = self._nameless(child.pid)
            return nameless > self.most_bytes or holds_too_much(child.slot.folder, self.most_bytes - nameless)

    def resident(self, child: Child) -> int:
        """Return the bytes of memory that only ``child`` has. Raises OSError if it cannot be looked at."""
        with open(f"{_living_thread(child.pid)}/smaps_rollup", "rb") as file:
            parts = (line.split() for line in file if line.startswith((b"Private_", b"Swap:")))
            return 1024 * sum(int(part[1]) for part in parts)

    def _used(self) -> tuple[int, int]:
        found = os.statvfs(self._scratch)
        return (found.f_blocks - found.f_bfree) * found.f_frsize, found.f_files - found.f_ffree

    def _grown(self) -> tuple[int, int]:
        size, count = self._used()
        return size - self._before[0], count - self._before[1]

    def _nameless(self, pid: int) -> int:
        """Return the bytes in unlinked files of ``pid``; one that is only mapped is taken for a full one."""
        found: dict[int, int] = {}
        thread = _living_thread(pid)
        folder = f"{thread}/fd"
        for name in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):  # it would not stop
                file = os.stat(f"{folder}/{name}")
                if stat.S_ISREG(file.st_mode) and not file.st_nlink:
                    found[file.st_ino] = file.st_blocks * 512
        with open(f"{thread}/maps", "rb") as maps:
            for line in maps:
                if line.endswith(b" (deleted)\n"):
                    _addresses, _rights, _offset, _device, inode, path = line.split(None, 5)
                    if path.startswith(self._scratch):
                        found.setdefault(int(inode), self._most_file)
        return sum(found.values())


@contextlib.contextmanager
def _stopped(child: Child) -> Iterator[None]:
    """Stop a program for the length of a ``with`` block, unless it does not stop, or has done so itself."""
    if _rests(child.pid):
        yield
        return
    child.signal(signal.SIGSTOP)
    try:
        until = time.monotonic() + _STOPPING
        while not _rests(child.pid) and time.monotonic() < until:
            time.sleep(0.0001)
        yield
    finally:
        child.signal(signal.SIGCONT)


def _date(folder: str) -> int | None:
    """Return when something was last made in ``folder``; None: without Landlock, the program has moved it."""
    try:
        return os.lstat(folder).st_mtime_ns
    except FileNotFoundError:
        return None


def _states(pid: int) -> Iterator[tuple[str, bytes]]:
    """Yield the folder in /proc and the state of each thread of ``pid``."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        folder = f"/proc/{pid}/task/{thread}"
        with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"{folder}/stat", "rb") as file:
            yield folder, file.read().rpartition(b")")[2].split()[0]


def _living_thread(pid: int) -> str:
    """Return the folder in /proc of a thread: that of a process is empty once its first thread has ended."""
    return next((folder for folder, state in _states(pid) if state not in b"ZX"), f"/proc/{pid}")


def _rests(pid: int) -> bool:
    """Whether no thread of ``pid`` runs: each is stopped or has ended."""
    return all(state in b"TtZX" for _folder, state in _states(pid))
