r"""Gold answers of data files: extracted from worked solutions, and refused if they cannot be graded.

A field often contains a whole solution that ends with ``#### 4``, ``\boxed{4}`` or ``The answer is 4.``,
which no answer would ever equal. This module refuses answers by their text; ``src.rewards.golds`` checks
whether the grader can parse the others.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from src.config import FieldsConfig
from src.problems.boxes import last_box
from src.problems.problem import ProblemError

SHOWN = 3  # invalid answers in an error
_MOST_WORDS = 8  # of an answer in words; "all positive integers that are divisible by 3" has six
_SENTENCE = 4  # a text of this many words that ends with a full stop is a sentence

_HASHES = re.compile(r"####[ \t]*(\S[^\n]*?)\s*\Z")  # as in GSM8K; not at the end it is a heading
_STATED = re.compile(
    r"(?:^|(?<=[\s*.]))(?:the\s+)?(?:final\s+)?answer(?:\s+is\b\s*:?|:)[\s*]*(\S[^\n]*?)\.?[\s*]*(?:\n|\Z|(?<=\.)\s)",
    re.IGNORECASE,
)
_BOX = re.compile(r"\\\\?(?:boxed|fbox)(?![A-Za-z])")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_ENVIRONMENT = re.compile(r"\\begin\{(\w+\*?)\}.*?\\end\{\1\}", re.DOTALL)
_COMMAND = re.compile(r"\\(?:([A-Za-z]+)|.?)", re.DOTALL)
_ARGUMENTS = dict.fromkeys(("frac", "dfrac", "tfrac", "cfrac", "binom", "dbinom"), 2) | dict.fromkeys(
    ("sqrt", "text", "textbf", "textit", "textrm", "mbox", "mathrm", "mathbf", "mathbb", "overline"), 1
)
_ARGUMENT = re.compile(r"\s*(?:\[[^]]*\]\s*)?(?:(\{)|\\[A-Za-z]+|[^\s{}])")
_PLAIN = re.compile(r"-?[\w.,/]+", re.ASCII)


@dataclass(frozen=True)
class Unreadable:
    """A gold answer that cannot be graded, its location, and the reason."""

    place: str
    answer: str
    why: str


def as_text(value: Any) -> Any:
    """Return a number, or a list with one element, as text; anything else unchanged."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, float) and math.isfinite(value):
        return format(Decimal(repr(value)), "f")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


def bare_answer(text: str) -> tuple[str, str | None]:
    r"""Return the answer in ``text`` and, if it was extracted from a longer text, the form in which it was
    found.

    A bare answer is returned unchanged. Otherwise the first of these forms is used: a last line ``#### 4``,
    the last box, the last ``The answer is 4.``, the only element of ``["4"]``.
    """
    if _PLAIN.fullmatch(text):
        return text, None
    if match := _HASHES.search(text):
        return _undollared(match[1]), "#### ANSWER"
    boxes = _BOX.findall(text)
    if boxes:
        _, answer = last_box(text)
        if (
            answer
            and text.strip("$ ").startswith(boxes[0] + "{" + answer)
            and text.strip("$ ").endswith(answer + "}")
        ):
            return answer, None  # the whole text is boxed
        if answer and (len(boxes) == 1 or _is_worked(text)):
            return answer, r"\boxed{ANSWER}"
    if stated := _STATED.findall(text):
        return _undollared(stated[-1]), "The answer is ANSWER"
    if text.startswith('["'):
        try:
            (only,) = json.loads(text)
        except ValueError:  # not JSON, or several elements
            return text, None
        return (only, '["ANSWER"]') if isinstance(only, str) and only.strip() else (text, None)
    return text, None


def matched_answer(text: str, pattern: str) -> str | None:
    """Return the group of the last match of ``pattern``, or None."""
    found = [match[1] for match in re.finditer(pattern, text) if match[1] and match[1].strip()]
    return found[-1].strip() if found else None


def _undollared(text: str) -> str:
    return text.strip().strip("$").strip() or text


def _is_worked(text: str) -> bool:
    return "\n" in text or len(_WORD.findall(text)) >= _SENTENCE


def unreadable(answer: str) -> str | None:
    """Return why only the same text could equal ``answer``, or None. Takes microseconds."""
    if _PLAIN.fullmatch(answer):
        return None
    if not re.search(r"[^\W_]|\\[A-Za-z{]|[^\x00-\x7f]", answer):
        return "no letter or digit"
    if "\n" in _ENVIRONMENT.sub("", answer):
        return "several lines"
    words = len(_WORD.findall(answer))
    if words > _MOST_WORDS or (words >= _SENTENCE and answer.rstrip().endswith((".", "!", "?"))):
        return "a sentence"
    if _BOX.search(answer):
        return "several boxes, or an empty one"
    return _unreadable_latex(answer)


def _unreadable_latex(answer: str) -> str | None:
    depth = 0
    for character in re.sub(r"\\.", "", answer, flags=re.DOTALL):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth < 0:
            break
    if depth:
        return "its braces do not match"
    commands = Counter(match[1] for match in _COMMAND.finditer(answer))
    if commands["left"] != commands["right"] or commands["begin"] != commands["end"]:
        return r"\left and \right, or \begin and \end, do not match"
    if answer.replace(r"\$", "").count("$") % 2:
        return "a single $"
    for match in _COMMAND.finditer(answer):
        if match[0] == "\\":
            return "it ends in a backslash"
        if not _has_arguments(answer, match.end(), _ARGUMENTS.get(match[1] or "", 0)):
            return rf"\{match[1]} lacks an argument"
    return None


def _has_arguments(text: str, start: int, number: int) -> bool:
    """Whether ``number`` LaTeX arguments follow in ``text``, whose braces match."""
    for _ in range(number):
        argument = _ARGUMENT.match(text, start)
        if argument is None:
            return False
        start = argument.end()
        depth = 1 if argument[1] else 0
        while depth:
            depth += {"{": 1, "}": -1}.get(text[start], 0)
            start += 1
    return True


def refuse(
    found: Sequence[Unreadable], number: int, of: int, fields: FieldsConfig, what: str, group: str
) -> None:
    """Refuse problems if too many gold answers cannot be graded.

    Args:
        found: the first answers that cannot be graded.
        number: how many answers cannot be graded.
        of: number of problems.
        fields: field names of the problems.
        what: name of the problems.
        group: group of the configuration.

    Raises:
        ProblemError: their fraction is above ``fields.max_unreadable``.
    """
    if number <= fields.max_unreadable * of:
        return
    first = "; ".join(f"{gold.place}: {_shortened(gold.answer)} ({gold.why})" for gold in found[:SHOWN])
    at = f"{group}.fields"
    raise ProblemError(
        f"{at}.answer={fields.answer}: {number} of {of} gold answers of {what} cannot be graded, more than "
        f"{100 * fields.max_unreadable:.3g} %, such as {first}; name the field with the bare answer, give "
        f"{at}.answer_pattern=REGEX whose group is the answer, or accept them with "
        f"{at}.max_unreadable=1"
    )


def _shortened(answer: str) -> str:
    shown = repr(answer)
    return shown if len(shown) <= 120 else f"{shown[:80]} ... {shown[-36:]}"
