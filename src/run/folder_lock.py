"""Locks a run's folder, so that only one process at a time uses it.

The lock is a kernel lock (flock) on the file ``lock`` in the folder: it is released when the process ends,
for whatever reason. The file names the process that holds it. Child processes do not inherit it.
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
# Errors of file systems without locks: some network and user-space file systems.
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_held: dict[Path, int] = {}  # file descriptors by file


def take(folder: Path, name: str = "hydra.run.dir") -> None:
    """Lock ``folder`` for this process, unless it is already, and create it if necessary.

    On a file system without locks, print a warning and lock nothing.

    Args:
        folder: of a run.
        name: name of the setting that chooses it.

    Raises:
        ConfigError: another process uses it.
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
                    "no other process uses it",
                    file=sys.stderr,
                )
                return
            if not isinstance(error, BlockingIOError):
                raise
            raise ConfigError(
                f"{name}={folder}: {_shown(holder)} is using it; wait for it, end it, or choose another "
                "folder"
            ) from None
        if not _is(descriptor, file):  # removed by its last holder in the meantime
            os.close(descriptor)
            continue
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        _held[file] = descriptor


def release(folder: Path) -> None:
    """Release the folder and remove the lock file, if this process holds it."""
    file = folder.resolve() / LOCK
    descriptor = _held.pop(file, None)
    if descriptor is not None:
        file.unlink(missing_ok=True)
        os.close(descriptor)


def _is(descriptor: int, file: Path) -> bool:
    """Whether the open file is the one that currently has this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(file))
    except FileNotFoundError:
        return False


def _shown(holder: str) -> str:
    try:
        who = json.loads(holder)
        return f"process {who['pid']} on {who['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"  # which has not written its id yet


def _forget() -> None:
    """After a fork, in the child: the lock belongs to the parent."""
    while _held:
        os.close(_held.popitem()[1])


os.register_at_fork(after_in_child=_forget)
