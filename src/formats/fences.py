"""Where fenced code blocks lie in policy-written text: the one rule, for rollouts and rewards.

A block opens with a line of up to three spaces, three to 64 backticks and the label ``python``,
``py`` or ``output`` in any case. It closes at the next line start (again after up to three spaces)
with at least as many backticks, whatever follows them on the line; the rest of that line neither
belongs to the block nor opens another. A block that is never closed extends to the end of the text.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# Bounded repetitions keep an opening line short, so that a scanner of streamed bytes can drop long lines.
OPENING = re.compile(
    r"^ {0,3}(?P<fence>`{3,64})[ \t]{0,8}(?P<label>python|py|output)[ \t\r]{0,8}$",
    re.IGNORECASE | re.MULTILINE,
)


class CodeSpan(NamedTuple):
    """One fenced block: ``text[start:end]``, fences included, of kind ``python`` or ``output``."""

    start: int
    end: int
    kind: str


def code_spans(text: str) -> list[CodeSpan]:
    """Return the fenced blocks of ``text`` in order; the text starts outside a block. Linear time."""
    spans: list[CodeSpan] = []
    position = 0
    while opening := OPENING.search(text, position):
        closing = re.compile(rf"^ {{0,3}}`{{{len(opening['fence'])}}}", re.MULTILINE).search(
            text, opening.end()
        )
        position = closing.end() if closing else len(text)
        kind = "output" if opening["label"].lower() == "output" else "python"
        spans.append(CodeSpan(opening.start(), position, kind))
    return spans


def fills_output(text: str) -> bool:
    """Whether an output block of ``text`` holds anything; one that is only opened does not count."""
    if "output" not in text.lower():  # of most texts that is all that has to be looked at
        return False
    outputs = (text[span.start : span.end] for span in code_spans(text) if span.kind == "output")
    return any(block.partition("\n")[2].strip("` \t\r\n") for block in outputs)
