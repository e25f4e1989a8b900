"""Command-line values, and names of folders by their overrides."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

_LONGEST = 80  # characters of a folder's name
_READABLE = str.maketrans({"=": "-", ",": "+", "[": "", "]": ""})


def text(value: Any) -> str:
    """Return ``value`` in the syntax of Hydra's command line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {text(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(text, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def slug(overrides: Iterable[str]) -> str:
    """Return a readable folder name for ``overrides``, independent of their order."""
    ordered = sorted((one.lstrip("+") for one in overrides), key=lambda one: one.partition("="))
    plain = "_".join(ordered).translate(_READABLE)
    if re.fullmatch(r"[\w.+-]*", plain, re.ASCII) and len(plain) <= _LONGEST:
        return plain
    digest = hashlib.sha256("\n".join(ordered).encode()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9_.+-]+', '-', plain)[: _LONGEST - 9]}-{digest}"
