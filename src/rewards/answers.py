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

__all__ = ["Grade", "Grader", "GraderError", "extract_answer", "last_integer"]

_INTEGER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?![\w]|\.\d)")


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


def last_integer(policy_texts: Sequence[str]) -> str | None:
    """Return the last integer of the last line that the policy wrote, or None.

    The paper's released evaluation also accepts this as the answer.
    """
    lines = "".join(policy_texts[-1:]).strip().splitlines()
    numbers = _INTEGER.findall(lines[-1]) if lines else []
    return numbers[-1].replace(",", "") if numbers else None


def _outside_blocks(text: str, spans: Callable[[str], Sequence[Span]]) -> Iterator[str]:
    position = 0
    for span in spans(text):
        yield text[position : span.start]
        position = span.end
    yield text[position:]
