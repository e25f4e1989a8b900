"""Imported by every Python process of a run under faults: jumps of the clock, and a slow disk.

They begin and end while the run goes on: with the files ``clock`` (seconds to add to the time of day) and
``slow`` (seconds that each flush and each renaming takes) in the folder ``CHAOS_HOOKS``.
"""

import os
import time
from collections.abc import Callable
from typing import Any

_folder = os.environ.get("CHAOS_HOOKS")


def _setting(name: str) -> float:
    try:
        with open(f"{_folder}/{name}") as file:
            return float(file.read() or 0)
    except (OSError, ValueError):
        return 0.0


def _late(function: Callable[..., Any]) -> Callable[..., Any]:
    def slowly(*arguments: Any, **named: Any) -> Any:
        time.sleep(_setting("slow"))
        return function(*arguments, **named)

    return slowly


if _folder:
    _time, _time_ns = time.time, time.time_ns
    time.time = lambda: _time() + _setting("clock")
    time.time_ns = lambda: _time_ns() + int(_setting("clock") * 1e9)
    os.fsync, os.replace = _late(os.fsync), _late(os.replace)
