"""Solutions to the worded family: programs, mistakes, and feedback that is what the sandbox says."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import Future

import pytest
from math_verify import parse, verify

from src.config import LEVELS, SandboxConfig
from src.problems.mini.family import Instance, draw
from src.problems.mini.interpreter import run_own
from src.problems.mini.solutions import Habits, apply_edit, mistakes, write_solution
from src.problems.mini.template import Template
from src.problems.worded.family import TEMPLATES, UNSEEN, WORDED
from src.rewards import extract_answer
from src.rollout.observation import message
from src.sandbox import ExecutionResult, build_sandbox
from tests.fakes import a_format

ALL = TEMPLATES + UNSEEN
CAREFUL = Habits(error=(0, 0), blunder=(0, 0))
STUMBLING = Habits(error=(0.5, 0.5), blunder=(0, 0), repair=1)


def instances(template: Template, each: int) -> Iterator[Instance]:
    sides = ("heldout_templates",) if template in UNSEEN else ("train", "heldout", "heldout_phrasings")
    for level in LEVELS:
        for seed in range(each):
            side = sides[seed % len(sides)]
            yield draw(random.Random(f"{level}-{seed}"), template, level, side, WORDED)


def equivalent(gold: str, answer: str) -> bool:
    return bool(verify(parse(f"${gold}$"), parse(f"$\\boxed{{{answer}}}$")))


@pytest.mark.parametrize("template", ALL, ids=lambda template: template.name)
def test_programs_print_the_answer_errors_raise_and_blunders_mislead(template: Template) -> None:
    harmless = blunders = 0
    for instance in instances(template, 3):
        exercise = instance.exercise
        right = run_own(exercise.code)
        assert right.ok, right
        assert equivalent(exercise.answer, right.text), (instance.key, exercise.answer, right)
        wrong = mistakes(exercise)
        assert len(wrong) >= 2
        for name, (_, code) in wrong.items():
            assert not run_own(code).ok, (name, code)
        for edit in exercise.blunders:
            said = run_own(apply_edit(exercise.code, *edit))
            blunders += 1
            harmless += said.text == right.text
    assert blunders
    assert harmless <= blunders / 4


@pytest.mark.parametrize("template", ALL, ids=lambda template: template.name)
def test_solutions_by_hand_with_code_and_after_repairs_end_with_the_answer(template: Template) -> None:
    rng = random.Random(0)
    for instance in instances(template, 1):
        gold = instance.exercise.answer
        (text,) = write_solution(instance, "text", rng, CAREFUL)
        assert extract_answer([text.text]) == gold
        *_, said, last = write_solution(instance, "code", rng, CAREFUL)
        assert said.author == "tool"
        assert equivalent(gold, extract_answer([last.text]) or "")
        repaired = write_solution(instance, "code", rng, STUMBLING)
        if "guess" not in repaired[-1].text:
            assert equivalent(gold, extract_answer([repaired[-1].text]) or "")


def test_repairs_are_common() -> None:
    rng = random.Random(0)
    repaired = sum(
        any(
            "Let me fix that." in segment.text for segment in write_solution(instance, "code", rng, STUMBLING)
        )
        for template in ALL
        for instance in instances(template, 1)
    )
    assert 0.3 < repaired / (5 * len(ALL)) < 0.8


def test_feedback_is_what_the_sandbox_says() -> None:
    """Programs of every template, right, with every error and every blunder, in the real sandbox."""
    programs: list[str] = []
    for index, template in enumerate(ALL):
        exercise = template.write(template.draw(random.Random(index), 1 + index % 5))
        programs.append(exercise.code)
        programs += [code for _, code in mistakes(exercise).values()]
        programs += [apply_edit(exercise.code, *edit) for edit in exercise.blunders]
    with build_sandbox(SandboxConfig(wall_seconds=30.0, cpu_seconds=30.0)) as sandbox:
        futures: list[Future[ExecutionResult]] = [sandbox.submit(code) for code in programs]
        for code, future in zip(programs, futures, strict=True):
            assert run_own(code).text == message(future.result(), 400, a_format()), code
