"""Working directories of programs: checks their content and empties them.

Runs inside the jail, with the standard library only. Their content is untrusted: links, depth, modes.
"""

from __future__ import annotations

import os
import time

MOST_ENTRIES = 1000  # files a program may keep
MOST_LEVELS = 32
FILES_OF_FULL_SIZE = 16
SPARE_FOLDERS = 4  # of finished programs, not cleaned up yet


def empty(folder: str) -> None:
    """Remove everything in ``folder``, however deep, whatever its permissions, following no link."""
    counter = 0
    while True:
        with os.scandir(folder) as entries:
            found = list(entries)
        if not found:
            return
        for entry in found:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            os.chmod(entry.path, 0o700)
            with os.scandir(entry.path) as entries:
                inner = list(entries)
            for item in inner:  # a level up instead of recursion: no depth is too deep
                if item.is_dir(follow_symlinks=False):
                    os.chmod(item.path, 0o700)  # moving a directory needs the right to write it
                    counter += 1
                    os.rename(item.path, os.path.join(folder, f".{time.monotonic_ns()}.{counter}"))
                else:
                    os.unlink(item.path)
            os.rmdir(entry.path)


def holds_too_much(folder: str, most_bytes: int) -> bool:
    """Whether ``folder`` has more files, bytes or levels than a program may keep."""
    total, count, waiting = 0, 0, [(folder, 0)]
    while waiting:
        path, depth = waiting.pop()
        if depth > MOST_LEVELS:  # Landlock looks at every level: a deep path takes the worker seconds
            return True
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    count += 1
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if count > MOST_ENTRIES or total > most_bytes:
                        return True
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((entry.path, depth + 1))
        except FileNotFoundError:
            continue  # the program is still at work
        except OSError:
            return True  # not readable by the worker: an honest program does not do this
    return False


def restore(folder: str) -> None:
    """Make ``folder`` an empty directory, the same one where possible, since a Landlock rule names it.

    Without Landlock a program may have replaced it.
    """
    if os.path.islink(folder) or not os.path.isdir(folder):
        if os.path.lexists(folder):
            os.unlink(folder)
        os.mkdir(folder)
    os.chmod(folder, 0o700)
    empty(folder)


def clear_beside(folder: str) -> None:
    """Remove other files next to ``folder``: without Landlock a program may write there."""
    parent = os.path.dirname(folder)
    for name in os.listdir(parent):
        if name != os.path.basename(folder):
            os.rename(os.path.join(parent, name), os.path.join(folder, name))
    empty(folder)
