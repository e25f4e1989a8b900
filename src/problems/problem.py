"""The problem data class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Row = tuple[str, dict[str, Any]]  # location ("file.jsonl, line 3"), fields


class ProblemError(ValueError):
    """Problems cannot be loaded; the message names file, row and field, or the invalid setting."""


@dataclass(frozen=True)
class Problem:
    """One question with its gold answer."""

    id: str
    text: str
    answer: str  # gold, LaTeX without dollar signs
    subject: str | None
    level: int | None
    source: str  # its generated family, file, data set or benchmark
    prompt: str | list[dict[str, str]] | None = None  # its file's own (keep_prompt): text, or chat messages
    max_prompt_tokens: int | None = None  # the prompt is cut to its last tokens (long_prompts=truncate_left)
