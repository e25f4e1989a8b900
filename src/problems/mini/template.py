"""The parts of a template of a generated family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

Params = tuple[int, ...]
LAST = "@"
Edit = tuple[str, str]  # (old, new): applied to the last occurrence of old in the code


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program as a beginner would write it.

    ``errors`` are edits after which it raises, ``blunders`` are edits after which it runs and prints
    something else.
    """

    code: str
    errors: tuple[Edit, ...] = ()
    blunders: tuple[Edit, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Exercise(Program):
    """One problem written out, with a beginner's solutions.

    ``answer`` and ``steps`` come from plain Python arithmetic that shares nothing with ``code``.
    ``links`` are programs that lead to the answer one after the other; :data:`LAST` in one of them stands for
    what the one before printed. ``unseen`` are wordings that are never trained on; the mini family has none.
    """

    wordings: tuple[str, ...]
    answer: str  # LaTeX
    steps: str  # a solution by hand, without its last sentence
    links: tuple[Program, ...] = ()
    unseen: tuple[str, ...] = ()


@dataclass(frozen=True)
class Template:
    """A kind of problem: ``draw`` picks parameters for a level (1 to 5), ``write`` makes the exercise."""

    name: str
    subject: str
    draw: Callable[[Random, int], Params]
    write: Callable[[Params], Exercise]
