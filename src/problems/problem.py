"""What a problem is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Row = tuple[str, dict[str, Any]]  # where it stands ("file.jsonl, line 3"), its fields


class ProblemError(ValueError):
    """Problems cannot be loaded; the message names the file, row and field, or the setting at fault."""


@dataclass(frozen=True)
class Problem:
    """One question with its gold answer."""

    id: str
    text: str
    answer: str  # gold, LaTeX without dollar signs
    subject: str | None
    level: int | None
    source: str  # "mini", or the file, data set or benchmark it came from
