"""Worked examples in prompts (``model.examples``): problems with solutions as a policy should write them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from src.config import SUBJECTS
from src.config.schema import ConfigError
from src.formats.base import Call, Format
from src.problems import Problem
from src.problems.mini.family import stream
from src.problems.mini.solutions import Habits, TextSegment, write_code, write_text
from src.problems.prompt_text import Messages

_LEVELS = (1, 2, 3)
_FLAWLESS = Habits(error=(0.0, 0.0), blunder=(0.0, 0.0))
_TOOL = "python"


@dataclass(frozen=True)
class WorkedExample:
    """A problem, and the text of a trajectory that solves it, results included."""

    problem: Problem
    solution: str


def worked_examples(number: int, seed: int, mode: str, form: Format) -> list[WorkedExample]:
    """Return ``number`` examples from training problems of the mini family, of different subjects in turn.

    In mode ``text`` they are in words, else with programs and their results in the format.

    Raises:
        ConfigError: the format has no tool ``python``.
    """
    if number and mode != "text" and _TOOL not in form.tools:
        raise ConfigError(
            f"model.examples={number}: the examples call the tool {_TOOL}, which tools does not have; leave "
            "model.examples=null, or write examples into model.prompt_template"
        )
    rng = random.Random(f"examples-{seed}")
    # by hand and with code the same problems; programs of the family do not solve its geometry
    subjects = [subject for subject in SUBJECTS if subject != "Geometry"]
    rng.shuffle(subjects)
    found: dict[str, WorkedExample] = {}
    for instance in stream(f"examples-{seed}", "train", subjects, _LEVELS):
        if len(found) == number:
            break
        problem = instance.problem(rng.randrange(len(instance.exercise.wordings)))
        drawn = random.Random(problem.id)  # the next problem does not depend on the mode
        segments = (
            write_text(instance) if mode == "text" else write_code(instance, drawn, _FLAWLESS, _call(form))
        )
        if problem.id not in found:
            found[problem.id] = WorkedExample(problem, "".join(_shown(segment, form) for segment in segments))
    return list(found.values())


def with_examples(
    problem: Problem, worked: Sequence[WorkedExample], prompt: Callable[[Problem], str | Messages]
) -> str | Messages:
    """Return the prompt of a problem with worked examples before it, each asked as the problem is.

    In a chat they are turns of user and assistant after the system turn, otherwise text. A problem with a
    prompt of its own gets none.
    """
    own = prompt(problem)
    if not worked or problem.prompt is not None:
        return own
    asked = [(prompt(one.problem), one.solution) for one in worked]
    if isinstance(own, str):
        return "".join(f"{question}{solution}\n\n" for question, solution in asked) + own
    turns = [
        turn
        for question, solution in asked
        for turn in (question[-1], {"role": "assistant", "content": solution})
        if isinstance(turn, dict)
    ]
    return [*own[:-1], *turns, own[-1]]


def _call(form: Format) -> Callable[[str], str]:
    return lambda code: form.write(Call(_TOOL, {"code": code}))


def _shown(segment: TextSegment, form: Format) -> str:
    if segment.author == "policy":
        return segment.text
    return "".join(piece.text for piece in form.render(form.neutralise(segment.text)))
