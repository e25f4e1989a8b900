r"""Extracts answers from the policy's text; ``Grader`` compares them with the gold answer.

This package is the only place that extracts and grades answers. The answer is in the last ``\boxed`` or
``\fbox`` that the policy wrote outside its calls and results (docs/design.md, invariant Own answers).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from src.formats.base import Span
from src.formats.fence_grammar import fence_spans
from src.problems.boxes import last_box
from src.rewards.grader import Grade, Grader, GraderError

__all__ = ["Grade", "Grader", "GraderError", "extract_answer", "last_expression"]

_LAST_CHARACTERS = 2000  # of a text, in which the last expression is looked for
_NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+"
_EXPRESSION = re.compile(
    r"\$\$?([^$]+)\$\$?|\\\((.+?)\\\)|\\\[(.+?)\\\]"
    r"|((?<!\w)[-+]?(?:\\[dt]?frac\{[^{}]*\}\{[^{}]*\}|\d*\\sqrt\{[^{}]*\}|(?:\d+\s+)?\d+\s*/\s*\d+(?!\w))"
    rf"|(?<![\w^/])(?<!\d[.,])[-+]?(?:{_NUMBER})(?:\^\{{?-?\d+\}}?)?(?!\w)(?:\s*\\?%)?)",
    re.DOTALL,
)


def extract_answer(
    policy_texts: Sequence[str], spans: Callable[[str], Sequence[Span]] = fence_spans
) -> str | None:
    r"""Return the content of the last box in ``policy_texts`` outside calls and results, or None.

    Only the last ``\boxed`` or ``\fbox`` counts: if it is empty, or its braces never close (the text was
    cut), there is no answer, whatever was boxed before. Of nested boxes, the outermost is the answer.
    ``\boxed 7`` and ``\boxed\frac12`` count, up to the end of the formula. A box may not span a block or two
    texts. Takes time linear in the length of the texts.

    Args:
        policy_texts: texts of the policy's segments, in order; each starts outside any block.
        spans: returns the blocks of a text in the policy's format.
    """
    for text in reversed(policy_texts):
        for piece in reversed(list(_outside_blocks(text, spans))):
            if "boxed" in piece or "fbox" in piece:
                found, answer = last_box(piece)
                if found:
                    return answer or None
    return None


def last_expression(
    policy_texts: Sequence[str], spans: Callable[[str], Sequence[Span]] = fence_spans
) -> str | None:
    r"""Return the last box, formula or number that the policy wrote outside calls and results, or None.

    For lenient grading: of whichever ends last. The paper's released evaluation also accepts the last integer
    as the answer. Looks at the last 2,000 characters of the last text that has any outside of blocks.

    Args:
        policy_texts: texts of the policy's segments, in order; each starts outside any block.
        spans: returns the blocks of a text in the policy's format.
    """
    for text in reversed(policy_texts):
        for piece in reversed(list(_outside_blocks(text, spans))):
            tail = piece[-_LAST_CHARACTERS:]
            found = [match for match in _EXPRESSION.finditer(tail) if match[match.lastindex or 0].strip()]
            boxed, answer = last_box(tail) if "box" in tail else (False, "")
            if boxed and answer and (not found or found[-1].start() <= tail.rfind(answer) + len(answer)):
                return answer
            if found:
                return found[-1][found[-1].lastindex or 0].strip().rstrip(".,;: ") or None
    return None


def _outside_blocks(text: str, spans: Callable[[str], Sequence[Span]]) -> Iterator[str]:
    position = 0
    for span in spans(text):
        yield text[position : span.start]
        position = span.end
    yield text[position:]
