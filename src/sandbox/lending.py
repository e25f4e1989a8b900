"""How programs get what is lent to them: ``sandbox.packages`` and ``sandbox.files`` (src/config/lent.py).

In each jail there is a folder of what can be imported, which ends the import path, and a folder of data, to
which a link ``data`` leads from the working folder of every program: a jail without a file system of its own
has no other place that is the same everywhere. In the others the user's files are mounted into the two
folders, read-only; in those without, the folders hold links, and each program's Landlock domain lets it read
what they lead to and nothing beside; without any jail, files are copied. A program can take the link out of
its own folder, as it can anything there; the next one finds it again.

Not guaranteed: that a program does not hold a lock (flock, fcntl) on such a file while it runs.
"""

from __future__ import annotations

import contextlib
import os
import shutil

from src.config import SandboxConfig, lent
from src.config.lent import Lent
from src.sandbox.api import SandboxError
from src.sandbox.folders import empty

ROOT = "/lent"  # in a jail with a file system of its own


def find_lent(cfg: SandboxConfig) -> Lent:
    """What is lent to programs, on this machine. Raises SandboxError when it cannot be."""
    found, faults = lent.find(cfg)
    if faults:
        raise SandboxError("; ".join(faults))
    return found


def places(found: Lent, root: str) -> list[tuple[str, str]]:
    """Path on this machine, and place below ``root``, of each thing that is lent."""
    kinds = {"modules": found.modules, "files": found.files}
    return [
        (path, os.path.join(root, kind, name))
        for kind, things in kinds.items()
        for name, path in things.items()
    ]


def folders(found: Lent, root: str) -> dict[str, str]:
    """The part ``lent`` of a worker's settings: the folder of each kind of which there is something."""
    return {
        os.path.basename(folder): folder
        for _, place in places(found, root)
        if (folder := os.path.dirname(place))
    }


def link(found: Lent, root: str) -> None:
    """Make the folders, of links. Raises OSError."""
    for folder in folders(found, root).values():
        os.makedirs(folder, mode=0o700)
    for path, place in places(found, root):
        os.symlink(path, place)


def copy(found: Lent, root: str) -> None:
    """Make the folders, of links to modules and of copies of files that nobody may write. Raises OSError."""
    link(Lent(modules=found.modules), root)
    for path, place in places(Lent(files=found.files), root):
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
    """Remove the folders, as far as that can be done."""
    with contextlib.suppress(OSError):
        empty(root)
        os.rmdir(root)


def proof(found: Lent) -> str:
    """A program that prints ``there`` when all that is lent can be read; it imports none of it."""
    return f"""
import importlib.util, os
for name in {list(found.files)!r}:
    path = os.path.join({lent.FOLDER!r}, name)
    os.listdir(path) if os.path.isdir(path) else open(path, "rb").close()
for name in {found.imports!r}:
    if importlib.util.find_spec(name) is None:
        raise ModuleNotFoundError(name)
print("there")
"""
