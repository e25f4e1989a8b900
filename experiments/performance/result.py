"""How a benchmark ends: its results as JSON, and exit code 1 if a target is missed."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn


def write_result(result: Mapping[str, Any], file: Path) -> None:
    """Write results, and the folder they belong to where there is none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=2) + "\n")


def end(result: Mapping[str, Any]) -> NoReturn:
    """Say which targets are ``missed``, and exit."""
    for fault in result["missed"]:
        print(fault, file=sys.stderr)
    sys.exit(bool(result["missed"]))
