"""What a command line gives, as Hydra reads it; and values and commands as one would write them there."""

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

_PLAIN = re.compile(r"[\w./:+@%-]+", re.ASCII)  # what Hydra reads as text without quotes


def parsed(overrides: Iterable[str]) -> list[Override]:
    """Return ``KEY=VALUE`` texts as Hydra reads them."""
    return list(OverridesParser.create().parse_overrides(list(overrides)))


def names(overrides: Iterable[str]) -> list[str]:
    """Return the dotted names of what is given: options of groups, values, and those inside of a value."""
    found: list[str] = []
    for one in parsed(overrides):
        found.append(one.key_or_group)
        value = None if one.is_delete() or one.is_sweep_override() else one.value()
        if isinstance(value, Mapping):
            found += (f"{one.key_or_group}.{name}" for name in _inside(value))
    return found


def _inside(value: Mapping[Any, Any], prefix: str = "") -> Iterator[str]:
    for key, one in value.items():
        yield f"{prefix}{key}"
        if isinstance(one, Mapping):
            yield from _inside(one, f"{prefix}{key}.")


def override(key: str, value: str) -> str:
    """Return ``KEY=VALUE`` of a text, in quotes where Hydra needs them."""
    return f"{key}={value}" if _PLAIN.fullmatch(value) else f"{key}={json.dumps(value, ensure_ascii=False)}"


def command(module: str, arguments: Sequence[str]) -> str:
    """Return a command for a shell."""
    return shlex.join(["python", "-m", module, *arguments])


def shown(path: Path) -> str:
    """Return a path from the working directory, if it is in there; else the whole."""
    relative = os.path.relpath(path)
    return str(path.resolve()) if relative.startswith("..") else relative
