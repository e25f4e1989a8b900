"""A run's folder is of one process at a time.

The lock is the kernel's (flock), on the file ``lock`` in the folder: the end of the process, whatever ends
it, releases it. The file says who holds it. What this process starts does not inherit it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import sys
from pathlib import Path

from src.config.schema import ConfigError

LOCK = "lock"
# Of file systems without locks: some of the network, and some in user space.
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_held: dict[Path, int] = {}  # file descriptors by file


def take(folder: Path, name: str = "hydra.run.dir") -> None:
    """Make ``folder`` this process's, which may have it already, and make it if there is none.

    Where the file system knows no locks, that is said and nothing is locked.

    Args:
        folder: of a run.
        name: of the setting that chooses it.

    Raises:
        ConfigError: another process works in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder.resolve() / LOCK
    while file not in _held:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 4096, 0).decode(errors="replace")
            os.close(descriptor)
            if error.errno in _UNSUPPORTED:
                print(
                    f"warning: {folder} is on a file system without locks ({error.strerror}): make sure that "
                    "no other process works in it",
                    file=sys.stderr,
                )
                return
            if not isinstance(error, BlockingIOError):
                raise
            raise ConfigError(
                f"{name}={folder}: {_shown(holder)} works in it; wait for it, end it, or choose another "
                "folder"
            ) from None
        if not _is(descriptor, file):  # its last holder has removed it meanwhile
            os.close(descriptor)
            continue
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        _held[file] = descriptor


def release(folder: Path) -> None:
    """Give the folder back, and remove the file; nothing where it is not held."""
    file = folder.resolve() / LOCK
    descriptor = _held.pop(file, None)
    if descriptor is not None:
        file.unlink(missing_ok=True)
        os.close(descriptor)


def _is(descriptor: int, file: Path) -> bool:
    """Whether the open file is the one that has this name now."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(file))
    except FileNotFoundError:
        return False


def _shown(holder: str) -> str:
    try:
        who = json.loads(holder)
        return f"process {who['pid']} on {who['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"  # that has not yet said who it is


def _forget() -> None:
    """In a child that was forked: the lock is its parent's, and ends with it."""
    while _held:
        os.close(_held.popitem()[1])


os.register_at_fork(after_in_child=_forget)
