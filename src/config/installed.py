"""The modules, libraries and metadata of an installed package and of its dependencies.

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

# Packages that every sandbox provides, and those that it provides if they are installed.
REQUIRED_PACKAGES = ("numpy", "sympy", "mpmath")
OPTIONAL_PACKAGES = ("scipy", "gmpy2", "tzdata")
PROVIDED = REQUIRED_PACKAGES + OPTIONAL_PACKAGES
BESIDE = ("-info", ".libs")  # entries of a distribution that are not modules

_DISTRIBUTION = re.compile(r"[A-Za-z0-9_](?:[\w.-]*\w)?", re.ASCII)


def parts(name: str) -> tuple[dict[str, str], str]:
    """Return the files of a distribution or module installed for this interpreter, with its dependencies."""
    if name in PROVIDED:
        return {}, f"programs already have {name}; remove it"
    if name in sys.stdlib_module_names:
        return {}, f"{name} is part of Python, so programs already have it; remove it"
    if not _DISTRIBUTION.fullmatch(name):
        return {}, "this is neither a package name nor a path; a path contains a '/' or ends in .py"
    waiting = list(_distributions(name))
    found = _module(name) if not waiting else {}
    seen = set()
    while waiting:
        distribution = waiting.pop()
        if distribution.name not in seen:
            seen.add(distribution.name)
            found |= _parts(distribution)
            waiting += _required(distribution)
    if not found:
        return {}, _not_installed(name)
    return {entry: path for entry, path in found.items() if entry.split(".")[0] not in PROVIDED}, ""


def _distributions(name: str) -> Iterator[metadata.Distribution]:
    """Yield the distribution ``name``, or the distributions that provide the module ``name``."""
    try:
        yield metadata.distribution(name)
    except metadata.PackageNotFoundError:
        if name.isidentifier() and find_spec(name) is not None:
            for owner in dict.fromkeys(_owners().get(name, [])):
                yield metadata.distribution(owner)


@cache
def _owners() -> Mapping[str, list[str]]:
    """Return the distributions that provide each module; takes a second if many are installed."""
    return metadata.packages_distributions()


def _required(distribution: metadata.Distribution) -> Iterator[metadata.Distribution]:
    """Yield its installed dependencies, without those of extras."""
    for requirement in distribution.requires or []:
        name, _, marker = requirement.partition(";")
        begins = _DISTRIBUTION.match(name.strip())
        if begins and "extra" not in marker:
            try:
                yield metadata.distribution(begins[0])
            except metadata.PackageNotFoundError:
                continue  # for another platform, for example


def _parts(distribution: metadata.Distribution) -> dict[str, str]:
    """Return the entries of a distribution in site-packages: modules, libraries and metadata."""
    tops = {file.parts[0] for file in distribution.files or []}
    hidden = ("..", "/", "__pycache__", "__editable__")
    found = {
        top: os.path.realpath(str(distribution.locate_file(top)))
        for top in sorted(tops)
        if not top.startswith(hidden) and not top.endswith((".pth", ".egg-link"))
    }
    if all(name.endswith(BESIDE) for name in found):  # installed in place, with pip install -e
        top_level = distribution.read_text("top_level.txt") or distribution.name.replace("-", "_")
        for name in top_level.split():
            found |= _module(name)
    return {name: path for name, path in found.items() if os.path.exists(path)}


def _module(name: str) -> dict[str, str]:
    """Return the file or folder from which ``import name`` loads a module or package."""
    spec = find_spec(name) if name.isidentifier() else None
    if spec is None or spec.origin is None or not spec.has_location:
        return {}
    if spec.submodule_search_locations:
        return {name: os.path.realpath(next(iter(spec.submodule_search_locations)))}
    return {os.path.basename(spec.origin): os.path.realpath(spec.origin)}


def _not_installed(name: str) -> str:
    here = [path for path in (name, f"{name}.py") if os.path.exists(path)]
    if here:
        remedy = f"for {here[0]} in this folder, give it as a path: ./{here[0]}"
    else:
        names = sorted({found.name for found in metadata.distributions() if found.name})
        near = difflib.get_close_matches(name, names, n=2)
        remedy = f"did you mean {either(near)}?" if near else "install it, or give a path to your own"
    return f"no such package is installed for {sys.executable}; {remedy}"
