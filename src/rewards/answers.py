r"""Answers of the policy: how they are found in its text. ``Grader`` compares them with the gold answer.

This package is the only place that extracts and grades answers (invariant 6 of the design): what counts is
the last ``\boxed`` or ``\fbox`` that the policy wrote outside its Python and output blocks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from src.fences import code_spans
from src.rewards.grader import Grade, Grader, GraderError

__all__ = ["Grade", "Grader", "GraderError", "extract_answer", "last_integer"]

# \boxed or \fbox, with a second backslash that some write before it; another escaped character; a brace.
_TOKEN = re.compile(
    r"(?P<box>\\\\?(?:boxed|fbox)(?![A-Za-z])\s*(?P<open>\{)?)|\\.|(?P<brace>[{}])", re.DOTALL
)
_INTEGER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?![\w]|\.\d)")
# An answer without braces ends with its formula or line, or where words follow.
_BARE_TOKEN = re.compile(
    r"(?P<end>\\[)\]]|\\\\|[$&\n]|\.(?=\s)|(?<!\s)\s++(?=[A-Za-z]{2}))|\\.|(?P<brace>[{}])", re.DOTALL
)


def extract_answer(policy_texts: Sequence[str]) -> str | None:
    r"""Return the content of the last box in ``policy_texts`` outside fenced blocks, or None.

    The last ``\boxed`` or ``\fbox`` decides: if it is empty, or its braces never close (the text was cut),
    there is no answer, whatever was boxed before. Of nested boxes the outermost is the answer. ``\boxed 7``
    and ``\boxed\frac12`` count, up to the end of the formula. A box may not reach across a fenced block or
    from one text to the next. Takes time linear in the length of the texts.

    Args:
        policy_texts: texts of the policy's segments, in order; each starts outside any fenced block.
    """
    for text in reversed(policy_texts):
        for piece in reversed(list(_outside_blocks(text))):
            if "boxed" in piece or "fbox" in piece:
                found, answer = _last_box(piece)
                if found:
                    return answer or None
    return None


def last_integer(policy_texts: Sequence[str]) -> str | None:
    """Return the last integer of the last line that the policy wrote, or None.

    The paper's released evaluation counts a trajectory as correct if this is the gold answer, too.
    """
    lines = "".join(policy_texts[-1:]).strip().splitlines()
    numbers = _INTEGER.findall(lines[-1]) if lines else []
    return numbers[-1].replace(",", "") if numbers else None


def _outside_blocks(text: str) -> Iterator[str]:
    position = 0
    for span in code_spans(text):
        yield text[position : span.start]
        position = span.end
    yield text[position:]


def _last_box(text: str) -> tuple[bool, str]:
    """Return whether ``text`` has a box, and the answer in the last one, empty if there is none."""
    open_braces: list[tuple[int, int | None]] = []  # where the inside begins, and the box if it is a box's
    last: re.Match[str] | None = None
    closed = False  # whether the last box is
    content = (0, 0)  # of the box that was the latest to close: the last one, or one around it
    for token in _TOKEN.finditer(text):
        if token["box"]:
            last, closed = token, False
        if token["open"] or token["brace"] == "{":
            open_braces.append((token.end(), token.start() if token["box"] else None))
        elif token["brace"] and open_braces:
            begin, box = open_braces.pop()
            if box is not None:
                content = (begin, token.start())
                closed = closed or (last is not None and box == last.start())
    if last is None:
        return False, ""
    if closed or content[1] > last.start():
        return True, text[slice(*content)].strip()
    return True, "" if last["open"] else _bare_answer(text, last.end())


def _bare_answer(text: str, start: int) -> str:
    """Return the answer of a box without braces whose content begins at ``start``."""
    depth, stop = 0, len(text)
    for token in _BARE_TOKEN.finditer(text, start):
        if token["brace"]:
            depth += 1 if token["brace"] == "{" else -1
        if depth < 0 or (depth == 0 and token["end"]):
            stop = token.start()
            break
    return text[start:stop].strip().rstrip(".,;:") if depth <= 0 else ""
