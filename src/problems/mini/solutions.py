"""Writes solutions as a beginner would: by hand or with code, mistakes and repairs included.

A solution is a list of segments by ``policy`` and ``tool``; the text of a tool segment is only what the
interpreter said, without the markup that the format puts around it. ``call`` writes a program as the format
does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from src.problems.mini.family import Instance
from src.problems.mini.interpreter import run_own
from src.problems.mini.template import LAST, Program

MAX_BLOCKS = 4
REPAIR = "Let me fix that.\n"  # before a program that follows a failed one
SKIP_LINE, UNCLOSED = "skip line", "unclosed"


@dataclass(frozen=True)
class TextSegment:
    """Text with one author, ``policy`` or ``tool``."""

    author: str
    text: str


@dataclass(frozen=True)
class Habits:
    """How careless the beginner is. Chances at level 1 and at level 5; linear in between."""

    code_in_free: float = 0.5  # chance of code in mode free
    error: tuple[float, float] = (0.12, 0.36)  # a program that raises
    blunder: tuple[float, float] = (0.03, 0.10)  # a program that runs but gives a wrong result
    repair: float = 0.6  # chance of another try after a failed program
    at_once: float = 0.15  # chance of one program for a whole chain

    def at(self, chances: tuple[float, float], level: int) -> float:
        """The chance at a level."""
        low, high = chances
        return low + (high - low) * (level - 1) / 4


def apply_edit(code: str, old: str, new: str) -> str:
    """Replace the last occurrence of ``old``, which must be there."""
    head, found, tail = code.rpartition(old)
    if not found:
        raise ValueError(f"edit {old!r} -> {new!r} does not apply to {code!r}")
    return head + new + tail


def mistakes(program: Program) -> dict[str, tuple[float, str]]:
    """Every erroneous variant of a program that a beginner may write, with its weight, by name."""
    code = program.code
    found: dict[str, tuple[float, str]] = {}
    _, _, rest = code.partition("\n")
    if rest:
        found[SKIP_LINE] = (5.0, rest)
    if code.endswith(")"):
        found[UNCLOSED] = (2.5, code[:-1])
    for old, new in program.errors:
        found[f"{old} -> {new}"] = (2.5 / len(program.errors), apply_edit(code, old, new))
    return found


def _written(rng: Random, program: Program, level: int, habits: Habits) -> str:
    luck = rng.random()
    error, blunder = habits.at(habits.error, level), habits.at(habits.blunder, level)
    if luck < error:
        options = list(mistakes(program).values())
        return rng.choices([code for _, code in options], [weight for weight, _ in options])[0]
    if luck < error + blunder and program.blunders:
        return apply_edit(program.code, *rng.choice(program.blunders))
    return program.code


def _final(answer: str) -> str:
    return rf"The answer is $\boxed{{{answer}}}$."


def write_text(instance: Instance) -> list[TextSegment]:
    """A correct solution by hand: steps and answer."""
    exercise = instance.exercise
    return [TextSegment("policy", f"{exercise.steps} {_final(exercise.answer)}")]


def fenced(code: str) -> str:
    """A program in a fenced block."""
    return f"```python\n{code}\n```"


def write_code(
    instance: Instance, rng: Random, habits: Habits, call: Callable[[str], str] = fenced
) -> list[TextSegment]:
    """A solution with code: programs with mistakes, outputs, repairs or a guess."""
    exercise = instance.exercise
    step_by_step = exercise.links and rng.random() >= habits.at_once
    programs = list(exercise.links if step_by_step else (exercise,))
    segments: list[TextSegment] = []
    lead = last = ""
    while programs and len(segments) < 2 * MAX_BLOCKS:
        code = _written(rng, programs[0], instance.level, habits).replace(LAST, last)
        said = run_own(code)
        segments += [TextSegment("policy", lead + call(code)), TextSegment("tool", said.text)]
        if said.ok:
            lead, last = "", said.text
            programs.pop(0)
        elif rng.random() < habits.repair:
            lead = REPAIR
        else:
            break
    if not programs:
        return [*segments, TextSegment("policy", _final(last))]
    return [*segments, TextSegment("policy", f"I can only guess. {_final(str(rng.randint(1, 9)))}")]


def write_solution(
    instance: Instance, mode: str, rng: Random, habits: Habits, call: Callable[[str], str] = fenced
) -> list[TextSegment]:
    """A solution in mode ``text`` or ``code``; in ``free`` either, independent of the subject."""
    code = mode == "code" or (mode == "free" and rng.random() < habits.code_in_free)
    return write_code(instance, rng, habits, call) if code else write_text(instance)
