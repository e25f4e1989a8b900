r"""What kind of collection an answer is, and names of points: seen in the LaTeX, lost by parsing.

The parser makes a finite set of ``1,2`` as of ``\{1,2\}``, an interval of ``(1,2)`` and a product of
``ABC``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from sympy import Expr, FiniteSet

from src.rewards.values import items

_OPENING, _CLOSING = "([{", ")]}"
_NAME = re.compile(
    r"(?:\\(?:triangle|angle|overline|overrightarrow|vec|widehat|odot|square)\s*)?(\{)?([A-Z]{2,})(?(1)\})"
)


def names(gold: str, answer: str) -> tuple[str, str] | None:
    """Return the letters of two names of points, such as ``ABC``; None if one is anything else."""
    found = _NAME.fullmatch(gold), _NAME.fullmatch(answer)
    return (found[0][2], found[1][2]) if found[0] and found[1] else None


def kind(latex: str) -> str:
    r"""Return ``set`` for ``\{...\}``, ``tuple`` for ``(a, b)``, ``list`` for ``a, b``, else ``other``."""
    text = latex.strip().replace(r"\{", "{").replace(r"\}", "}")
    depth, commas, whole = 0, [], bool(text) and text[0] in "({"
    for place, character in enumerate(text):
        if character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth -= 1
            whole = whole and (depth > 0 or place == len(text) - 1)
        elif character == ",":
            commas.append(depth)
    if 0 in commas:
        return "list"
    if not whole:
        return "other"
    if text[0] == "{":
        return "set" if latex.strip().startswith("\\") or 1 in commas else "other"
    return "tuple" if 1 in commas and text[-1] == ")" else "other"


def same_collection(
    gold: Any, answer: Any, kinds: tuple[str, str], equal: Callable[[Any, Any], bool]
) -> bool | None:
    """Compare collections element by element; None if the two are not to be compared so.

    A set has no order and no repetitions, a list no order; a tuple is neither a set nor reordered. A single
    value is a list of one.

    Args:
        gold: parsed gold answer.
        answer: parsed answer.
        kinds: the kind of each, see :func:`kind`.
        equal: compares two elements.
    """
    if sorted(kinds) == ["set", "tuple"]:
        return False
    if not isinstance(gold, FiniteSet) and not isinstance(answer, FiniteSet):
        return None
    golds, answers = _elements(gold), _elements(answer)
    if golds is None or answers is None:
        return None
    if kinds == ("set", "set"):
        golds, answers = _distinct(golds, equal), _distinct(answers, equal)
    if len(golds) != len(answers):
        return False
    if (isinstance(gold, FiniteSet) and isinstance(answer, FiniteSet)) or len(golds) == 1:
        return matched(golds, answers, equal)
    return all(map(equal, golds, answers))


def _elements(value: Any) -> Sequence[Any] | None:
    return [value] if isinstance(value, Expr) else items(value)


def _distinct(values: Sequence[Any], equal: Callable[[Any, Any], bool]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if not any(equal(other, value) for other in found):
            found.append(value)
    return found


def matched(golds: Sequence[Any], answers: Sequence[Any], equal: Callable[[Any, Any], bool]) -> bool:
    """Whether ``golds`` and ``answers``, of the same length, can be matched one to one.

    By augmenting paths (Kuhn 1955): each pair is compared once at most.
    """
    known: dict[tuple[int, int], bool] = {}
    partner: dict[int, int] = {}  # answer -> gold

    def are_equal(gold: int, answer: int) -> bool:
        if (gold, answer) not in known:
            known[gold, answer] = equal(golds[gold], answers[answer])
        return known[gold, answer]

    def place(gold: int, tried: set[int]) -> bool:
        for answer in range(len(answers)):
            if answer not in tried and are_equal(gold, answer):
                tried.add(answer)
                if answer not in partner or place(partner[answer], tried):
                    partner[answer] = gold
                    return True
        return False

    return all(place(gold, set()) for gold in range(len(golds)))
