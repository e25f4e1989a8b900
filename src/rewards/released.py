"""The verdict of math-verify itself, as the paper's released training asks for it.

Gold answer and boxed answer are each parsed as a formula with math-verify's default extraction (LaTeX and
plain expressions), and compared with its default settings. Used by the grading processes only: math-verify's
own time limits (5 s for each parsing and comparison) need a main thread, and do not end all inputs.
"""

from __future__ import annotations

from typing import Any

from math_verify import parse, verify


def accepted(gold: str, answer: str) -> bool:
    """Whether math-verify accepts ``answer`` for ``gold``, both bare LaTeX. Never returns on some inputs."""
    return bool(verify(_parsed(gold), _parsed(answer)))


def parsed(gold: str) -> bool:
    """Whether math-verify finds anything in ``gold``; otherwise it accepts no answer."""
    return bool(_parsed(gold))


def _parsed(latex: str) -> list[Any]:
    return parse(f"${latex}$")
