"""What an installed package consists of: its modules, libraries and metadata, and those that it requires.

Nothing is imported.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import metadata
from importlib.util import find_spec

from src.config.schema import either

# What every sandbox has, and what it has where it is installed.
REQUIRED_PACKAGES = ("numpy", "sympy", "mpmath")
OPTIONAL_PACKAGES = ("scipy", "gmpy2")
PROVIDED = REQUIRED_PACKAGES + OPTIONAL_PACKAGES
BESIDE = ("-info", ".libs")  # what distributions have beside modules

_DISTRIBUTION = re.compile(r"[A-Za-z0-9_](?:[\w.-]*\w)?", re.ASCII)


def parts(name: str) -> tuple[dict[str, str], str]:
    """Return what a distribution or module beside this interpreter consists of, with what it requires."""
    if name in PROVIDED:
        return {}, f"programs have {name} already; leave it out"
    if name in sys.stdlib_module_names:
        return {}, f"{name} is part of Python, and programs have it; leave it out"
    if not _DISTRIBUTION.fullmatch(name):
        return {}, "this is neither the name of a package nor a path; a path has a '/', or ends in .py"
    waiting = list(_distributions(name))
    found = _module(name) if not waiting else {}
    seen = set()
    while waiting:
        one = waiting.pop()
        if one.name not in seen:
            seen.add(one.name)
            found |= _parts(one)
            waiting += _required(one)
    if not found:
        return {}, _not_installed(name)
    return {one: path for one, path in found.items() if one.split(".")[0] not in PROVIDED}, ""


def _distributions(name: str) -> Iterator[metadata.Distribution]:
    """Yield the distribution ``name``, or those that ``import name`` takes."""
    try:
        yield metadata.distribution(name)
    except metadata.PackageNotFoundError:
        if name.isidentifier() and find_spec(name) is not None:
            for owner in dict.fromkeys(_owners().get(name, [])):
                yield metadata.distribution(owner)


@cache
def _owners() -> Mapping[str, list[str]]:
    """Return the distributions of each module; a second, where much is installed."""
    return metadata.packages_distributions()


def _required(one: metadata.Distribution) -> Iterator[metadata.Distribution]:
    """Yield what it requires and is installed, but for extras."""
    for requirement in one.requires or []:
        name, _, marker = requirement.partition(";")
        begins = _DISTRIBUTION.match(name.strip())
        if begins and "extra" not in marker:
            try:
                yield metadata.distribution(begins[0])
            except metadata.PackageNotFoundError:
                continue  # of other platforms, say


def _parts(one: metadata.Distribution) -> dict[str, str]:
    """Return what a distribution has put into the folder of packages: modules, libraries, its metadata."""
    tops = {file.parts[0] for file in one.files or []}
    hidden = ("..", "/", "__pycache__", "__editable__")
    found = {
        top: os.path.realpath(str(one.locate_file(top)))
        for top in sorted(tops)
        if not top.startswith(hidden) and not top.endswith((".pth", ".egg-link"))
    }
    if all(name.endswith(BESIDE) for name in found):  # installed in place, with pip install -e
        for name in (one.read_text("top_level.txt") or one.name.replace("-", "_")).split():
            found |= _module(name)
    return {name: path for name, path in found.items() if os.path.exists(path)}


def _module(name: str) -> dict[str, str]:
    """Return where ``import name`` finds a module of one file or a package."""
    spec = find_spec(name) if name.isidentifier() else None
    if spec is None or spec.origin is None or not spec.has_location:
        return {}
    if spec.submodule_search_locations:
        return {name: os.path.realpath(next(iter(spec.submodule_search_locations)))}
    return {os.path.basename(spec.origin): os.path.realpath(spec.origin)}


def _not_installed(name: str) -> str:
    here = [one for one in (name, f"{name}.py") if os.path.exists(one)]
    if here:
        remedy = f"if {here[0]} of this folder is meant, give it as a path, ./{here[0]}"
    else:
        names = sorted({one.name for one in metadata.distributions() if one.name})
        near = difflib.get_close_matches(name, names, n=2)
        remedy = f"did you mean {either(near)}?" if near else "install it, or give the path of your own"
    return f"no such package is installed where {sys.executable} looks; {remedy}"
