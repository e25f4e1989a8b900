"""Reads /proc for this process and its descendants: numbers, memory, descriptors, files."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from src.run.provenance import commit

PROC = Path("/proc")
_NUMBERS = {
    "status": {"VmRSS": "rss"},
    "smaps_rollup": {"Pss": "pss", "Private_Dirty": "private_dirty"},
}


def children() -> dict[int, list[int]]:
    """Process ids by parent, zombies included."""
    found: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            except OSError:
                continue  # ended meanwhile
            found.setdefault(int(parent), []).append(int(entry.name))
    return found


def below(roots: Iterable[int]) -> list[int]:
    """``roots`` and every process below them."""
    tree = children()
    found, waiting = [], list(roots)
    while waiting:
        found.append(waiting.pop())
        waiting.extend(tree.get(found[-1], []))
    return found


def workers(roots: Iterable[int]) -> list[int]:
    """The worker of each tree under ``roots``, at rest: the parent of the zygote, which has most children."""
    tree = children()
    parents = {child: parent for parent, found in tree.items() for child in found}
    return [parents[max(below([root]), key=lambda pid: len(tree.get(pid, [])))] for root in roots]


def memory(pid: int) -> dict[str, float]:
    """MiB by name: ``rss``, and ``pss`` and ``private_dirty`` where this user may see them."""
    found = {}
    for file, names in _NUMBERS.items():
        try:
            lines = (PROC / str(pid) / file).read_text().splitlines()
        except OSError:
            continue  # ended meanwhile, or not ours to see
        for line in lines:
            key, _, rest = line.partition(":")
            if key in names:
                found[names[key]] = int(rest.split()[0]) / 1024
    return found


def descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd")) - 1  # but for the one that listing takes


def leftovers(worker: int) -> int | None:
    """Files in the folders of a worker's programs, which lie in its own; None where one may not look."""
    folder = PROC / str(worker) / "cwd"
    if not os.access(folder, os.R_OK):
        return None
    return sum(len(files) for _, _, files in os.walk(f"{folder}/."))


def made_on() -> dict[str, Any]:
    """Return commit and machine, which every measurement notes."""
    machine = {"system": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()}
    return {"commit": commit(), "machine": machine}
