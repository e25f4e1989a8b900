"""How programs get the modules and files of src/config/mounts.py: ``sandbox.packages``, ``sandbox.files``.

Each jail has a folder of modules, which is the last entry of the import path, and a folder of data files. The
working directory of every program holds a link ``data`` to the latter, since a jail without a file system of
its own has no other location with the same path everywhere. Jails with a file system of their own mount the
user's files read-only into the two folders. In jails without one the folders hold links, and each program's
Landlock domain lets it read the targets and nothing beside them. Without any jail, the files are copied. A
program can delete the link from its own working directory; the next program has it again.

A program cannot hold a lock (flock, fcntl) on such a file, except where there is no seccomp filter.
"""

from __future__ import annotations

import contextlib
import os
import shutil

from src.config import SandboxConfig
from src.config.mounts import FOLDER, Mounts, find
from src.sandbox.api import SandboxError
from src.sandbox.folders import empty

ROOT = "/mounts"  # in a jail with a file system of its own


def find_mounts(cfg: SandboxConfig) -> Mounts:
    """Return the modules and files for programs, on this machine. Raises SandboxError if any is invalid."""
    mounts, faults = find(cfg)
    if faults:
        raise SandboxError("; ".join(faults))
    return mounts


def places(mounts: Mounts, root: str) -> list[tuple[str, str]]:
    """Return the path on this machine and the path below ``root`` of each module and file."""
    kinds = {"modules": mounts.modules, "files": mounts.files}
    return [
        (path, os.path.join(root, kind, name))
        for kind, entries in kinds.items()
        for name, path in entries.items()
    ]


def folders(mounts: Mounts, root: str) -> dict[str, str]:
    """Return ``mounts`` of a worker's settings: the folder of modules and that of files, if not empty."""
    return {
        os.path.basename(folder): folder
        for _, place in places(mounts, root)
        if (folder := os.path.dirname(place))
    }


def link(mounts: Mounts, root: str) -> None:
    """Create the folders, with links. Raises OSError."""
    for folder in folders(mounts, root).values():
        os.makedirs(folder, mode=0o700)
    for path, place in places(mounts, root):
        os.symlink(path, place)


def copy(mounts: Mounts, root: str) -> None:
    """Create the folders, with links to modules and read-only copies of files. Raises OSError."""
    link(Mounts(modules=mounts.modules), root)
    for path, place in places(Mounts(files=mounts.files), root):
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if os.path.isdir(path):
            shutil.copytree(path, place, symlinks=True)
        else:
            shutil.copyfile(path, place)
    for folder, _, names in os.walk(os.path.join(root, "files"), topdown=False):
        for path in (os.path.join(folder, name) for name in names):
            if not os.path.islink(path):
                os.chmod(path, 0o400)
        os.chmod(folder, 0o500)


def remove(root: str) -> None:
    """Remove the folders; errors are ignored."""
    with contextlib.suppress(OSError):
        empty(root)
        os.rmdir(root)


def proof(mounts: Mounts) -> str:
    """Return a program that prints ``found`` if every module and file can be read; it imports none."""
    return f"""
import importlib.util, os
for name in {list(mounts.files)!r}:
    path = os.path.join({FOLDER!r}, name)
    os.listdir(path) if os.path.isdir(path) else open(path, "rb").close()
for name in {mounts.imports!r}:
    if importlib.util.find_spec(name) is None:
        raise ModuleNotFoundError(name)
print("found")
"""
