"""Looking at processes from outside."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from src.config import SandboxConfig


def cold(**settings: Any) -> SandboxConfig:
    """Workers that import nothing: where nothing is about mathematics, they start ten times as fast."""
    return SandboxConfig(warm=[], **settings)


def descendants(pid: int) -> set[int]:
    """Process ids below ``pid``, zombies apart."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # ended meanwhile
        if fields[0] != "Z":
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found.update(children)
        waiting.extend(children)
    return found


def leaves(pids: Iterable[int]) -> list[int]:
    """Processes below ``pids`` that have no children: a worker's programs, and its children that wait."""
    everyone = {pid for root in pids for pid in descendants(root)}
    return [pid for pid in everyone if not descendants(pid)]


def worker_and_zygote(pid: int) -> tuple[int, int]:
    """Of the worker whose outermost process is ``pid``, once children of the zygote wait."""

    def parent(of: int) -> int:
        return int(Path(f"/proc/{of}/stat").read_text().rpartition(")")[2].split()[1])

    found: list[tuple[int, int]] = []

    def seen() -> bool:
        with contextlib.suppress(OSError):  # one has just ended
            zygotes = {parent(leaf) for leaf in leaves([pid])}
            grandchildren = {one for zygote in zygotes for one in descendants(zygote)}
            if len(zygotes) == 1 and len(grandchildren) > 1:
                found.append((parent(*zygotes), *zygotes))
        return bool(found)

    assert eventually(seen)
    return found[0]


def number_inside(pid: int) -> int | None:
    """The number that ``pid`` has in its jail; None if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    found = re.search(r"^NSpid:.*?(\d+)$", status, re.MULTILINE)
    assert found
    return int(found[1])


def processor_seconds(pids: Iterable[int], over: float) -> float:
    """What ``pids`` and the processes below them use in ``over`` seconds."""

    def used() -> dict[int, int]:
        found = {}
        for pid in {pid for root in pids for pid in (root, *descendants(root))}:
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # ended meanwhile
            found[pid] = int(fields[11]) + int(fields[12])
        return found

    before = used()
    time.sleep(over)
    after = used()
    assert after
    return sum(after[pid] - before.get(pid, 0) for pid in after) / 100


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
