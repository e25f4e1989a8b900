"""The grammar of fenced blocks in policy text, shared by rollouts, rewards and analyses.

A block opens with a line of up to three spaces, three to 64 backticks and a label in any case: ``python``,
``py``, ``output`` or the name of another tool. It closes at the next line that starts with at least as many
backticks (again after up to three spaces), whatever follows them; the rest of that line neither belongs to
the block nor opens another. A block that is never closed extends to the end of the text.
"""

from __future__ import annotations

import re
from functools import cache

from src.formats.base import CALL, RESULT, Span

OUTPUT = "output"
PYTHON = ("python", "py")  # a program is never an answer, even if it cannot be run


def longest_opening(labels: tuple[str, ...] = PYTHON) -> int:
    """Return the characters of the longest opening line: longer lines need not be kept."""
    return 3 + 64 + 8 + max(map(len, {*labels, *PYTHON, OUTPUT})) + 8


@cache
def opening(labels: tuple[str, ...] = PYTHON) -> re.Pattern[str]:
    """Return the pattern of an opening line with one of ``labels``, a Python label or ``output``."""
    # Bounded repetition limits the length of an opening line, so a streaming scanner can drop long lines.
    known = "|".join(map(re.escape, sorted({*labels, *PYTHON, OUTPUT}, key=len, reverse=True)))
    return re.compile(
        rf"^ {{0,3}}(?P<fence>`{{3,64}})[ \t]{{0,8}}(?P<label>{known})[ \t\r]{{0,8}}$",
        re.IGNORECASE | re.MULTILINE,
    )


def fence_spans(text: str, labels: tuple[str, ...] = PYTHON) -> list[Span]:
    """Return the fenced blocks of ``text`` in order; the text starts outside a block. Linear time."""
    spans: list[Span] = []
    position = 0
    pattern = opening(labels)
    while found := pattern.search(text, position):
        closing = re.compile(rf"^ {{0,3}}`{{{len(found['fence'])}}}", re.MULTILINE).search(text, found.end())
        position = closing.end() if closing else len(text)
        kind = RESULT if found["label"].lower() == OUTPUT else CALL
        spans.append(Span(found.start(), position, kind))
    return spans


def last_program(text: str) -> str | None:
    """Return the last program in ``text``, closed or not, without its fences, or None."""
    calls = [span for span in fence_spans(text) if span.kind == CALL]
    if not calls:
        return None
    body = text[calls[-1].start : calls[-1].end].partition("\n")[2]
    return re.sub(r"(^|\n) {0,3}`*$", "", body)


def fills_output(text: str) -> bool:
    """Whether ``text`` has a non-empty output block."""
    if OUTPUT not in text.lower():  # a fast test that settles most texts
        return False
    results = (text[span.start : span.end] for span in fence_spans(text) if span.kind == RESULT)
    return any(block.partition("\n")[2].strip("` \t\r\n") for block in results)
