"""Plain numbers, which are compared without a computer algebra system."""

from __future__ import annotations

import re
from fractions import Fraction

# Bounded lengths: Python refuses to convert integers of more than 4300 digits.
_INTEGER = r"-?[0-9]{1,300}"
_DECIMAL = re.compile(rf"{_INTEGER}|-?[0-9]{{0,300}}\.[0-9]{{1,300}}")
_RATIO = re.compile(
    rf"({_INTEGER})/([0-9]{{1,300}})|(-?)\\[dt]?frac\{{({_INTEGER})\}}\{{({_INTEGER})\}}",
)


def plain_number(text: str) -> Fraction | None:
    r"""Return the value of an integer, a decimal, ``a/b`` or ``\frac{a}{b}``; None for anything else."""
    text = text.strip()
    if _DECIMAL.fullmatch(text):
        return Fraction(text)
    match = _RATIO.fullmatch(text)
    if not match:
        return None
    numerator, denominator = int(match[1] or match[4]), int(match[2] or match[5])
    if denominator == 0:
        return None
    return Fraction(-numerator if match[3] else numerator, denominator)
