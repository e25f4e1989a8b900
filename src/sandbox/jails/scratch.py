"""Folders of the host for a worker's programs, in memory where possible: removing is then fast.

Whoever made one holds a lock on it. One without a lock is left over from a caller that was killed together
with the launcher of its worker, and is removed when the next one is made.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import time
from pathlib import Path

_NAME = re.compile(r"sandbox-\d+-\w+")  # sandbox-PID-..., with the process that made it
_NEW = 10.0  # seconds in which it may not be locked yet


class Scratch:
    """A new folder, locked by this process; ``in_memory`` where possible. Raises OSError."""

    def __init__(self, in_memory: bool = True) -> None:
        memory = in_memory and os.access("/dev/shm", os.W_OK | os.X_OK)
        place = "/dev/shm" if memory else tempfile.gettempdir()
        sweep(place)
        self.folder = tempfile.mkdtemp(prefix=f"sandbox-{os.getpid()}-", dir=place)
        self._lock = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def remove(self) -> None:
        """Remove it once its worker is gone; whatever is left of it does no harm. Idempotent."""
        if self._lock >= 0:
            _remove(self.folder)
            os.close(self._lock)
            self._lock = -1


def sweep(place: str) -> list[str]:
    """Remove the folders in ``place`` that nobody holds any more, and return them."""
    removed = []
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name) and _left_over(entry.path):
                _remove(entry.path)
                removed.append(entry.path)
    return removed


def _left_over(folder: str) -> bool:
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False  # gone, or another user's
    try:
        status = os.fstat(fd)
        if status.st_uid != os.geteuid() or time.time() - status.st_ctime < _NEW:
            return False
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(fd)


def _remove(folder: str) -> None:
    for path in Path(folder).glob("*"):
        if path.is_dir() and not path.is_symlink():
            with contextlib.suppress(OSError):
                path.chmod(0o700)  # closed folders: only root could look into them
    shutil.rmtree(folder, ignore_errors=True)
