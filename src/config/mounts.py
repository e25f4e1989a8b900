"""The user's modules and data files that programs can use: ``sandbox.packages`` and ``sandbox.files``.

They are looked up on this machine, but nothing is imported or opened here: a module that hangs or crashes on
import does so only in the program that imports it.
"""

from __future__ import annotations

import difflib
import keyword
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from src.config import installed
from src.config.schema import show

if TYPE_CHECKING:
    from src.config.sandbox import SandboxConfig

FOLDER = "data"  # where a program finds the data files, relative to its working directory

_OF_AN_IMAGE = (
    "with sandbox.jail=docker programs run in the image's Python, which has none of the packages installed "
    "here; give the path of the package's folder if it is pure Python, or choose another jail"
)


@dataclass(frozen=True)
class Mounts:
    """Modules and data files for programs: real paths on this machine by the name that programs use.

    Attributes:
        modules: entries of a folder on the import path of programs, such as ``tools.py`` and ``networkx``.
        files: data files and folders.
    """

    modules: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def imports(self) -> list[str]:
        """The names that programs can import, as far as file names tell."""
        packages = [name for name, path in self.modules.items() if _is_package(path)]
        return packages + [name[:-3] for name in self.modules if name.endswith(".py")]


def is_path(entry: str) -> bool:
    """Whether an entry of ``sandbox.packages`` is a path rather than the name of an installed package."""
    return "/" in entry or entry.endswith(".py") or entry in (".", "..") or entry.startswith("~")


def absolute(path: str) -> str:
    """Return ``path`` as an absolute path, so that its record does not depend on the working directory."""
    return os.path.abspath(os.path.expanduser(path)) if path else path


def find(
    cfg: SandboxConfig, at: str = "sandbox.", *, refuse: Callable[[str], str] = lambda _: ""
) -> tuple[Mounts, list[str]]:
    """Return the modules and data files for the programs of a sandbox, and an error per invalid entry.

    Args:
        cfg: names ``packages`` and ``files``; ``backend`` and ``jail`` decide which of them are possible.
        at: prefix of the setting names in errors.
        refuse: takes a real path; returns a description of what programs must not see in it, or "".
    """
    if cfg.backend == "sandbox_fusion":
        given = {"packages": cfg.packages, "files": cfg.files}
        return Mounts(), [
            f"{at}{name}={show(value)}: with {at}backend=sandbox_fusion programs have only what the service "
            f"provides; install it there and remove {at}{name}"
            for name, value in given.items()
            if value
        ]
    container = cfg.jail == "docker"

    def fault_of(path: str) -> str:
        return _fault_of_path(path, container, refuse)

    modules, faults = _modules(cfg.packages, f"{at}packages", container, fault_of)
    files, more = _files(cfg.files or [], f"{at}files", fault_of)
    return Mounts(modules, files), faults + more


def _modules(
    packages: list[str], at: str, container: bool, fault_of: Callable[[str], str]
) -> tuple[dict[str, str], list[str]]:
    found: dict[str, str] = {}
    faults: list[str] = []
    first: dict[str, tuple[str, str]] = {}  # by imported name: the entry that provides it, and its path
    for index, entry in enumerate(packages):
        label = f"{at}[{index}]={_whole(entry)}"
        if entry in packages[:index]:
            own, fault = {}, "it is listed twice; remove one"
        elif is_path(entry):
            own = {os.path.basename(entry): os.path.realpath(entry)}
            fault = _fault_of_module(entry) or fault_of(entry)
        elif container:
            own, fault = {}, _OF_AN_IMAGE
        else:
            own, fault = installed.parts(entry)
        for name, path in () if fault else own.items():
            stem = name if name.endswith(installed.BESIDE) else name.split(".")[0]
            other, place = first.setdefault(stem, (label, path))
            if place != path:
                fault = f"{other} is also imported as {stem}; rename one of the two"
        if fault:
            faults.append(f"{label}: {fault}")
        else:
            found |= own
    return found, faults


def _fault_of_module(path: str) -> str:
    """Return why a path is not an importable module or package; "" if it is."""
    name = os.path.basename(path).removesuffix(".py")
    folder = os.path.isdir(path)
    if not os.path.exists(path):
        return _missing(path)
    if not folder and not path.endswith(".py"):
        return "this is not a module; give a file NAME.py or the folder of a package"
    if name.startswith("__") or keyword.iskeyword(name) or not name.isidentifier():
        return f"nothing can be imported as {name!r}; " + (
            "give the folder that contains it" if name.startswith("__") else "rename it"
        )
    if name in sys.stdlib_module_names:
        return f"it has the name of Python's own module {name}; rename it"
    if name in installed.PROVIDED:
        return f"programs already have a package {name}; rename yours"
    if folder and not _is_package(path):
        return "this folder has no __init__.py, so it is not a package; add one, or list its modules"
    return ""


def _is_package(path: str) -> bool:
    return os.path.isfile(os.path.join(path, "__init__.py"))


def _files(
    given: list[str] | dict[str, str], at: str, fault_of: Callable[[str], str]
) -> tuple[dict[str, str], list[str]]:
    """Return the data files by name: by default the last part of the path."""
    found: dict[str, str] = {}
    faults = []
    named = isinstance(given, dict)
    pairs = (
        [(f"{at}.{_whole(name)}", name, path) for name, path in given.items()]
        if isinstance(given, dict)
        else [(f"{at}[{index}]", os.path.basename(path), path) for index, path in enumerate(given)]
    )
    for key, name, path in pairs:
        fault = fault_of(path)
        if named and ("/" in name or name in ("", ".", "..") or not name.isprintable()):
            fault = f"{_whole(name)} cannot be a file's name; give one without '/'"
        elif not fault and name in found:
            fault = f"{found[name]} is also called {name}; give names, like '{at}={{NAME: {_whole(path)}}}'"
        if fault:
            faults.append(f"{key}={_whole(path)}: {fault}")
        else:
            found[name] = os.path.realpath(path)
    return found, faults


def _fault_of_path(path: str, container: bool, refuse: Callable[[str], str]) -> str:
    """Return why programs cannot have access to a path; "" if they can."""
    if not path or not os.path.exists(path):
        return _missing(path)
    real = os.path.realpath(path)
    mode = os.stat(real).st_mode
    if reason := _too_much(real) or refuse(real):
        return f"programs would see {reason}; list only what they need, or put it in a separate folder"
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return "this is neither a file nor a folder; give one of those"
    if not _readable(real, container):
        user = "the user of a container (nobody)" if container else "this user"
        return f"{user} cannot read it; remedy: chmod -R {'o' if container else 'u'}+rX {_whole(path)}"
    return ""


def _too_much(real: str) -> str:
    """Return what a path contains that programs must not see; "" if nothing."""
    if real == "/":
        return "the whole machine"
    for scratch in (os.path.realpath(tempfile.gettempdir()), "/dev/shm"):
        if f"{scratch}/".startswith(f"{real}/"):
            return f"everything in {scratch}, including one another's folders"
    if f"{real}/".startswith(("/proc/", "/sys/", "/dev/")) and not real.startswith("/dev/shm/"):
        return "the kernel's view of the machine"
    return ""


def _readable(real: str, container: bool) -> bool:
    """Whether programs can read it; they have no capabilities, even if root starts them."""
    found = os.stat(real)
    needed = 0o5 if stat.S_ISDIR(found.st_mode) else 0o4
    if container:
        return found.st_mode & needed == needed
    if os.geteuid() != 0:
        return os.access(real, os.R_OK | (os.X_OK if needed == 0o5 else 0))
    shift = 6 if found.st_uid == 0 else 3 if found.st_gid in (os.getegid(), *os.getgroups()) else 0
    return found.st_mode >> shift & needed == needed


def _whole(text: str) -> str:
    """Return ``text`` for an error message, in full: a shortened path would be useless."""
    return text if text and text.isprintable() else repr(text)


def _missing(path: str) -> str:
    folder, name = os.path.split(path)
    beside = os.listdir(folder) if os.path.isdir(folder) and os.access(folder, os.R_OK) else []
    near = difflib.get_close_matches(name, beside, n=1)
    remedy = f"did you mean {os.path.join(folder, near[0])}?" if near else "correct the path"
    return f"there is no such file or folder on this machine; {remedy}"
