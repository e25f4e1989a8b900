r"""Degrees inside trigonometric functions: ``\sin 30^\circ`` is ``\sin\frac{\pi}{6}``, not ``\sin 30``."""

from __future__ import annotations

import re

_DEGREE = r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))|\\degree(?![A-Za-z])"
_FUNCTION = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])\s*(?:\^\s*(?:\{-?\d+\}|\d)\s*)?")
_NUMBER = re.compile(
    rf"-?(?:\d+(?:\.\d+)?|\\[dt]?frac\s*(?:\{{\d+\}}|\d)\s*(?:\{{\d+\}}|\d))\s*(?:{_DEGREE})"
)
_ANY_DEGREE = re.compile(_DEGREE)
_PER_DEGREE = r"\\cdot\\frac{\\pi}{180} "


def in_radians(latex: str) -> str:
    """Return ``latex`` with the degrees inside trigonometric functions in radians; other signs stay."""
    parts, position = [], 0
    for function in _FUNCTION.finditer(latex):
        if function.start() < position:
            continue  # inside the argument of another function
        start = function.end()
        end = _end_of_argument(latex, start)
        argument = latex[start:end]
        if _ANY_DEGREE.search(argument):
            inner = argument[1:-1] if argument[0] in "({" else argument
            parts += [latex[position:start], "(", _ANY_DEGREE.sub(_PER_DEGREE, inner), ")"]
            position = end
    return "".join([*parts, latex[position:]])


def _end_of_argument(latex: str, start: int) -> int:
    if start < len(latex) and latex[start] in "({":
        depth = 0
        for place in range(start, len(latex)):
            depth += (latex[place] in "({") - (latex[place] in ")}")
            if depth == 0:
                return place + 1
        return start
    number = _NUMBER.match(latex, start)
    return number.end() if number else start
