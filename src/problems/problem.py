"""What a problem is."""

from __future__ import annotations

from dataclasses import dataclass


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
    source: str  # "mini", or the file it came from
