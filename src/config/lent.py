"""What of the user's is lent to programs: modules to import and data files to read, found on this machine.

``sandbox.packages`` and ``sandbox.files`` name it. Nothing is imported or opened here: a module that hangs or
crashes when it is imported does so in the program that imports it.
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

FOLDER = "data"  # in the working folder of a program: where it finds the files

_OF_AN_IMAGE = (
    "with sandbox.jail=docker programs run in the Python of an image, for which nothing here was installed; "
    "give the path of the package's folder, if it is all Python, or choose another jail"
)


@dataclass(frozen=True)
class Lent:
    """Real paths on this machine, by the names that programs find them under.

    Attributes:
        modules: what lies in a folder where programs import from, such as ``tools.py`` and ``networkx``.
        files: files and folders of data.
    """

    modules: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def imports(self) -> list[str]:
        """What ``import`` takes, as far as one sees without importing it."""
        packages = [name for name, path in self.modules.items() if _is_package(path)]
        return packages + [name[:-3] for name in self.modules if name.endswith(".py")]


def is_path(entry: str) -> bool:
    """Whether an element of ``sandbox.packages`` is a path, and not the name of what is installed."""
    return "/" in entry or entry.endswith(".py") or entry in (".", "..") or entry.startswith("~")


def absolute(path: str) -> str:
    """Return ``path`` as it is recorded: from the root, whatever folder a later command is given in."""
    return os.path.abspath(os.path.expanduser(path)) if path else path


def find(
    cfg: SandboxConfig, at: str = "sandbox.", *, refuse: Callable[[str], str] = lambda _: ""
) -> tuple[Lent, list[str]]:
    """Return what is lent to the programs of a sandbox, and the faults of what cannot be.

    Args:
        cfg: its ``packages`` and ``files``; and where programs run, which decides what can be lent.
        at: how faults call the group.
        refuse: what a real path is or holds that programs must not see, in words; nothing if they may.
    """
    if cfg.backend == "sandbox_fusion":
        given = {"packages": cfg.packages, "files": cfg.files}
        return Lent(), [
            f"{at}{name}={show(value)}: with {at}backend=sandbox_fusion programs find what the service has; "
            f"put it there, and leave {at}{name} out"
            for name, value in given.items()
            if value
        ]
    container = cfg.jail == "docker"

    def fault_of(path: str) -> str:
        return _fault_of_path(path, container, refuse)

    modules, faults = _modules(cfg.packages, f"{at}packages", container, fault_of)
    files, more = _files(cfg.files or [], f"{at}files", fault_of)
    return Lent(modules, files), faults + more


def _modules(
    packages: list[str], at: str, container: bool, fault_of: Callable[[str], str]
) -> tuple[dict[str, str], list[str]]:
    found: dict[str, str] = {}
    faults: list[str] = []
    first: dict[str, tuple[str, str]] = {}  # by what is imported: which element it is of, and where it lies
    for index, entry in enumerate(packages):
        label = f"{at}[{index}]={_whole(entry)}"
        if entry in packages[:index]:
            own, fault = {}, "it is named twice; leave one out"
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
                fault = f"{other} is imported as {stem} too; rename one of the two"
        if fault:
            faults.append(f"{label}: {fault}")
        else:
            found |= own
    return found, faults


def _fault_of_module(path: str) -> str:
    """Return why a path is no module of its own, whatever is there."""
    name = os.path.basename(path).removesuffix(".py")
    folder = os.path.isdir(path)
    if not os.path.exists(path):
        return _missing(path)
    if not folder and not path.endswith(".py"):
        return "this is no module; give a file NAME.py, or the folder of a package"
    if name.startswith("__") or keyword.iskeyword(name) or not name.isidentifier():
        return f"nothing can be imported as {name!r}; " + (
            "give the folder that it lies in" if name.startswith("__") else "rename it"
        )
    if name in sys.stdlib_module_names:
        return f"programs would import Python's own {name}; rename it"
    if name in installed.PROVIDED:
        return f"programs have a package {name} already; rename yours"
    if folder and not _is_package(path):
        return "this folder has no __init__.py, which makes a package; add one, or name the modules in it"
    return ""


def _is_package(path: str) -> bool:
    return os.path.isfile(os.path.join(path, "__init__.py"))


def _files(
    given: list[str] | dict[str, str], at: str, fault_of: Callable[[str], str]
) -> tuple[dict[str, str], list[str]]:
    """Return the data by its names, which are the last parts of the paths unless others are given."""
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
            fault = f"{found[name]} is called {name} too; give names, such as '{at}={{NAME: {_whole(path)}}}'"
        if fault:
            faults.append(f"{key}={_whole(path)}: {fault}")
        else:
            found[name] = os.path.realpath(path)
    return found, faults


def _fault_of_path(path: str, container: bool, refuse: Callable[[str], str]) -> str:
    """Return why programs cannot be shown a path."""
    if not path or not os.path.exists(path):
        return _missing(path)
    real = os.path.realpath(path)
    mode = os.stat(real).st_mode
    if reason := _too_much(real) or refuse(real):
        return f"programs would see {reason}; name what they need, or a folder of its own for it"
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return "this is neither a file nor a folder; give one"
    if not _readable(real, container):
        whom = "the user of a container (nobody)" if container else "this user"
        return f"{whom} cannot read it; remedy: chmod -R {'o' if container else 'u'}+rX {_whole(path)}"
    return ""


def _too_much(real: str) -> str:
    """Return what a path holds that is no business of programs."""
    if real == "/":
        return "the whole machine"
    for scratch in (os.path.realpath(tempfile.gettempdir()), "/dev/shm"):
        if f"{scratch}/".startswith(f"{real}/"):
            return f"all that lies in {scratch}, one another's folders too"
    if f"{real}/".startswith(("/proc/", "/sys/", "/dev/")) and not real.startswith("/dev/shm/"):
        return "what the kernel shows of the machine"
    return ""


def _readable(real: str, container: bool) -> bool:
    """Whether programs can read it, which have no capabilities even where root starts them."""
    found = os.stat(real)
    needed = 0o5 if stat.S_ISDIR(found.st_mode) else 0o4
    if container:
        return found.st_mode & needed == needed
    if os.geteuid() != 0:
        return os.access(real, os.R_OK | (os.X_OK if needed == 0o5 else 0))
    shift = 6 if found.st_uid == 0 else 3 if found.st_gid in (os.getegid(), *os.getgroups()) else 0
    return found.st_mode >> shift & needed == needed


def _whole(text: str) -> str:
    """Return ``text`` as it is shown: a path is of use only if it is not cut."""
    return text if text and text.isprintable() else repr(text)


def _missing(path: str) -> str:
    folder, name = os.path.split(path)
    beside = os.listdir(folder) if os.path.isdir(folder) and os.access(folder, os.R_OK) else []
    near = difflib.get_close_matches(name, beside, n=1)
    remedy = f"did you mean {os.path.join(folder, near[0])}?" if near else "give the path of one that is"
    return f"there is no such file or folder on this machine; {remedy}"
