"""The grammar of fenced blocks in policy text, shared by rollouts, rewards and analyses.

A block opens with a line of an indentation or the marker of a list's item, three to 64 backticks and a
label in any case: ``python``, ``python3``, ``py``, ``output`` or another tool's name. It closes at the next
line that starts with at least as many backticks, whatever follows them, and is indented by at most three
columns or as far as the opening ones; the rest of that line neither belongs to the block nor opens another.
A block that is never closed extends to the end of the text. All lines of a program lose the indentation of
its first. docs/formats.md says what models write, and how often.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import takewhile
from typing import NamedTuple

from src.formats.base import CALL, MOST_BLANKS, RESULT, Span

OUTPUT = "output"
PYTHON = ("python", "python3", "py")  # a program is never an answer, even if it cannot be run
_TICKS, _INFO = 64, 100  # most characters of a fence, an info string
_MARKER = r"(?:[-*+]|\d{1,3}[.)]|[A-Za-z][.)])[ \t]{1,4}"
_TAB = 4  # columns
_INDENT = 3  # a closing fence may be indented that far, as in CommonMark


class Dialect(NamedTuple):
    """What opens a block.

    Attributes:
        labels: lower-case labels beside those of Python and ``output``.
        after_prose: whether an opening fence may follow text on its line.
        info: whether more than the label may follow the opening fence.
    """

    labels: tuple[str, ...] = PYTHON
    after_prose: bool = False
    info: bool = False

    @property
    def longest(self) -> int:
        """The most bytes of an opening and the character before it: of a line no more need be kept."""
        label = max(map(len, {*self.labels, *PYTHON, OUTPUT}))
        return 1 + MOST_BLANKS + 8 + _TICKS + 8 + label + (4 * _INFO if self.info else 0) + 8


DEFAULT = Dialect()


@cache
def opening(dialect: Dialect = DEFAULT) -> re.Pattern[str]:
    """Return the pattern of an opening line, or of its end after prose."""
    # Bounded repetition limits the length of an opening line, so a streaming scanner can drop long lines.
    known = "|".join(map(re.escape, sorted({*dialect.labels, *PYTHON, OUTPUT}, key=len, reverse=True)))
    start = rf"^(?P<indent>[ \t]{{0,{MOST_BLANKS}}}(?:{_MARKER})?)"
    if dialect.after_prose:
        start = rf"(?:{start}|(?<![`\n]))"
    info = rf"(?:[ \t][^`\n]{{0,{_INFO - 1}}})?" if dialect.info else ""
    return re.compile(
        rf"{start}(?P<fence>`{{3,{_TICKS}}})[ \t]{{0,8}}(?P<label>{known}){info}[ \t\r]{{0,8}}$",
        re.IGNORECASE | re.MULTILINE,
    )


def columns(blanks: str) -> int:
    """Return how far ``blanks``, or an item's marker, indent what follows."""
    return len(blanks.expandtabs(_TAB))


def room(indent: int) -> int:
    """Return by how many columns a fence may be indented to close a block that is indented by ``indent``."""
    return max(_INDENT, indent)


def fence_spans(text: str, dialect: Dialect = DEFAULT) -> list[Span]:
    """Return the fenced blocks of ``text`` in order; the text starts outside a block. Linear time."""
    spans: list[Span] = []
    position = 0
    pattern = opening(dialect)
    while found := pattern.search(text, position):
        end = _closing(text, found.end(), len(found["fence"]), room(columns(found["indent"] or "")))
        kind = RESULT if found["label"].lower() == OUTPUT else CALL
        spans.append(Span(found.start(), len(text) if end is None else end, kind))
        position = len(text) if end is None else text.find("\n", end)  # the rest of the line opens nothing
        if position < 0:
            break
    return spans


def _closing(text: str, position: int, ticks: int, most: int) -> int | None:
    """Return the end of the first closing fence from ``position`` on, or None."""
    pattern = re.compile(rf"^([ \t]{{0,{most}}})`{{{ticks}}}", re.MULTILINE)
    while found := pattern.search(text, position):
        if columns(found[1]) <= most:
            return found.end()
        position = found.end()
    return None


def dedented(body: str, most: int | None = None) -> str:
    """Return a program without the indentation of its first line that is neither blank nor a comment.

    Each line loses as much of that as it starts with. Python refuses a program whose first line is indented:
    none that can run is changed.

    Args:
        body: the program, or another text.
        most: the most characters to take; None: any number.
    """
    lines = body.split("\n")
    first = next((line for line in lines if (said := line.strip()) and not said.startswith("#")), "")
    margin = first[: len(first) - len(first.lstrip(" \t"))][:most]
    if not margin:
        return body
    return "\n".join(
        line[sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(line, margin, strict=False))) :]
        for line in lines
    )


def last_program(text: str) -> str | None:
    """Return the last program in ``text``, closed or not, without its fences, or None."""
    calls = [span for span in fence_spans(text) if span.kind == CALL]
    if not calls:
        return None
    body = text[calls[-1].start : calls[-1].end].partition("\n")[2]
    return dedented(re.sub(r"(^|\n)[ \t]*`*$", "", body))


def fills_output(text: str, dialect: Dialect = DEFAULT) -> bool:
    """Whether ``text`` has a non-empty output block."""
    if OUTPUT not in text.lower():  # a fast test that settles most texts
        return False
    results = (text[span.start : span.end] for span in fence_spans(text, dialect) if span.kind == RESULT)
    return any(block.partition("\n")[2].strip("` \t\r\n") for block in results)
