"""Command lines: overrides as Hydra parses them, and values and commands in shell syntax."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

_PLAIN = re.compile(r"[\w./:+@%-]+", re.ASCII)  # strings that Hydra needs no quotes for


def parsed(overrides: Iterable[str]) -> list[Override]:
    """Return ``KEY=VALUE`` strings as Hydra parses them."""
    return list(OverridesParser.create().parse_overrides(list(overrides)))


def names(overrides: Iterable[str]) -> list[str]:
    """Return the dotted names of all given settings: group options, values, and keys inside a value."""
    found: list[str] = []
    for override in parsed(overrides):
        found.append(override.key_or_group)
        value = None if override.is_delete() or override.is_sweep_override() else override.value()
        if isinstance(value, Mapping):
            found += (f"{override.key_or_group}.{name}" for name in _inside(value))
    return found


def _inside(value: Mapping[Any, Any], prefix: str = "") -> Iterator[str]:
    for key, inner in value.items():
        yield f"{prefix}{key}"
        if isinstance(inner, Mapping):
            yield from _inside(inner, f"{prefix}{key}.")


def override(key: str, value: str) -> str:
    """Return ``KEY=VALUE`` for a string, quoted if Hydra needs it."""
    return f"{key}={value}" if _PLAIN.fullmatch(value) else f"{key}={json.dumps(value, ensure_ascii=False)}"


def command(module: str, arguments: Sequence[str]) -> str:
    """Return ``python -m MODULE ARGUMENTS``, quoted for a shell."""
    return shlex.join(["python", "-m", module, *arguments])


def shown(path: Path) -> str:
    """Return a path relative to the working directory if it is inside it, else the absolute path."""
    relative = os.path.relpath(path)
    return str(path.resolve()) if relative.startswith("..") else relative
