"""Splits a problem into words, ignoring layout."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

# Asymptote figures, and LaTeX commands for layout.
_LAYOUT = re.compile(
    r"\[asy\].*?\[/asy\]|\\(?:left|right|displaystyle|qquad|quad|text|mathrm|[()\[\],;:! ])", re.DOTALL
)
_FRACTION = re.compile(r"\\[dtc]frac")
_THOUSANDS = re.compile(r"(?<=\d)(?:,|\{,\})(?=\d{3}(?!\d))")
_EASTERN = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"  # written without spaces: each character is a word
_WORD = re.compile(
    rf"\d+(?:\.\d+)?|[{_EASTERN}]|[^\W\d_{_EASTERN}]+|[^\w\s.,;:?\"'`$~{{}}\\&\u2018\u2019\u201c\u201d]"
)


def words(text: str) -> list[str]:
    """Return the words, numbers and operators of a text, in order.

    Case, spaces, dollar signs, braces, punctuation and LaTeX layout are ignored, so that two typesettings of
    a problem have the same words; numbers and operators are kept, so that different problems differ.
    """
    text = unicodedata.normalize("NFKC", text).casefold().replace("\u2212", "-")
    text = _FRACTION.sub(r"\\frac", _LAYOUT.sub(" ", text))
    return _WORD.findall(_THOUSANDS.sub("", text))


def answer_key(answer: str) -> str:
    """Return a key that is equal for two typesettings of an answer: 5.0 is 5, but 1/2 is not 0.5."""
    return " ".join(word.rstrip("0").rstrip(".") if "." in word else word for word in words(answer))


def ngrams(sequence: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    """Yield every sequence of ``n`` consecutive words."""
    return zip(*(sequence[start:] for start in range(n)), strict=False)
