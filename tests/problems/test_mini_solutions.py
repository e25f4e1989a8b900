"""Solutions for the warm start: structure, mistakes, and feedback that is what the sandbox says."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from src.config import LEVELS, SUBJECTS, SandboxConfig
from src.problems.mini.family import TEMPLATES, Instance, draw, stream
from src.problems.mini.interpreter import run_own
from src.problems.mini.solutions import (
    MAX_BLOCKS,
    Habits,
    apply_edit,
    mistakes,
    write_code,
    write_solution,
    write_text,
)
from src.problems.mini.template import LAST, Template
from src.rewards import extract_answer
from src.rollout.observation import message
from src.sandbox import ExecutionResult, build_sandbox
from tests.fakes import a_format

CAREFUL = Habits(error=(0, 0), blunder=(0, 0), at_once=1)
STEPWISE = Habits(error=(0, 0), blunder=(0, 0), at_once=0)
BLUNDERING = Habits(error=(0, 0), blunder=(0.7, 0.7), at_once=0)
CHAINS = [template for template in TEMPLATES if template.name.endswith("_chain")]
HOPELESS = Habits(error=(1, 1), repair=1)


def some(count: int, split: str = "train") -> Iterator[Instance]:
    instances = stream("solutions", split, SUBJECTS, LEVELS)
    return (next(instances) for _ in range(count))


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
def test_every_error_raises_and_every_blunder_misleads(template: Template) -> None:
    harmless = blunders = 0
    for level in LEVELS:
        for seed in range(6):
            exercise = draw(random.Random(seed), template, level, "train").exercise
            right = run_own(exercise.code)
            for name, (_, code) in mistakes(exercise).items():
                assert not run_own(code).ok, (name, code)
            for edit in exercise.blunders:
                said = run_own(apply_edit(exercise.code, *edit))
                blunders += 1
                harmless += said.text == right.text
    assert harmless <= blunders / 4


@pytest.mark.parametrize("template", CHAINS, ids=lambda template: template.name)
def test_the_links_of_a_chain_lead_to_its_answer(template: Template) -> None:
    """Each program prints what the next one needs; with an error it raises, with a blunder it misleads."""
    harmless = blunders = 0
    for level in LEVELS:
        for seed in range(6):
            exercise = draw(random.Random(seed), template, level, "train").exercise
            assert len(exercise.links) == (2 if level < 3 else 3)
            last = ""
            for link in exercise.links:
                for name, (_, code) in mistakes(link).items():
                    assert not run_own(code.replace(LAST, last)).ok, (name, code)
                right = run_own(link.code.replace(LAST, last)).text
                for edit in link.blunders:
                    said = run_own(apply_edit(link.code, *edit).replace(LAST, last))
                    blunders += 1
                    harmless += said.text == right
                last = right
            assert last == exercise.answer
    assert harmless <= blunders / 4


def test_step_by_step_a_chain_takes_an_execution_for_each_link() -> None:
    for template in CHAINS:
        instance = draw(random.Random(0), template, 5, "train")
        *segments, answer = write_code(instance, random.Random(0), STEPWISE)
        assert [segment.author for segment in segments] == ["policy", "tool"] * 3
        assert extract_answer([answer.text]) == instance.exercise.answer
        for before, program in zip(segments[1::2], segments[2::2], strict=False):
            assert f"= {before.text}\n" in program.text  # what it goes on with is what the sandbox said


def test_no_blunder_makes_a_later_program_endless() -> None:
    """The warm start runs them without a limit of time."""
    rng = random.Random(0)
    for template in CHAINS:
        for _ in range(40):
            write_code(draw(rng, template, 5, "train"), rng, BLUNDERING)


def test_an_edit_that_does_not_apply_is_refused() -> None:
    with pytest.raises(ValueError, match="does not apply"):
        apply_edit("print(1)", "sum(", "add(")


def test_text_solutions_end_with_the_gold_answer() -> None:
    for instance in some(120):
        (segment,) = write_text(instance)
        assert segment.author == "policy"
        assert "`" not in segment.text
        assert extract_answer([segment.text]) == instance.exercise.answer


def test_careful_code_runs_once_and_its_output_is_boxed() -> None:
    for instance in some(60):
        program, said, answer = write_code(instance, random.Random(0), CAREFUL)
        assert program.text == f"```python\n{instance.exercise.code}\n```"
        assert said.author == "tool"
        assert extract_answer([program.text, answer.text]) == said.text


def test_the_hopeless_try_until_they_guess() -> None:
    instance = next(some(1))
    segments = write_code(instance, random.Random(0), HOPELESS)
    assert [segment.author for segment in segments] == ["policy", "tool"] * MAX_BLOCKS + ["policy"]
    assert "guess" in segments[-1].text
    assert segments[2].text.startswith("Let me fix that.\n```python\n")


def test_modes_decide_between_text_and_code_and_free_is_half_and_half() -> None:
    rng = random.Random(0)
    counts = {"free": 0, "text": 0, "code": 0}
    geometry = 0
    everything = list(some(600))
    for mode in counts:
        for instance in everything:
            code = len(write_solution(instance, mode, rng, Habits())) > 1
            counts[mode] += code
            geometry += code and mode == "free" and instance.template.subject == "Geometry"
    assert counts["text"] == 0
    assert counts["code"] == 600
    assert 240 < counts["free"] < 360
    assert 30 < geometry < 70  # of 100: whatever the subject


def test_higher_levels_invite_more_errors() -> None:
    rng = random.Random(0)
    shares = []
    for level in (1, 5):
        wrong = 0
        for _ in range(40):
            for template in TEMPLATES:
                instance = draw(rng, template, level, "train")
                first = write_code(instance, rng, Habits(blunder=(0, 0), at_once=1))[0]
                wrong += first.text != f"```python\n{instance.exercise.code}\n```"
        shares.append(wrong / (40 * len(TEMPLATES)))
    low, high = Habits().error
    assert shares == pytest.approx([low, high], abs=0.06)


def test_feedback_is_what_the_sandbox_says() -> None:
    """Programs of every template, right, with every error and every blunder, in the real sandbox."""
    programs: list[str] = []
    for index, template in enumerate(TEMPLATES):
        exercise = draw(random.Random(index), template, 1 + index % 5, "train").exercise
        programs.append(exercise.code)
        programs += [code for _, code in mistakes(exercise).values()]
        programs += [apply_edit(exercise.code, *edit) for edit in exercise.blunders]
    with build_sandbox(SandboxConfig(wall_seconds=30.0, cpu_seconds=30.0)) as sandbox:
        futures: list[Future[ExecutionResult]] = [sandbox.submit(code) for code in programs]
        for code, future in zip(programs, futures, strict=True):
            assert run_own(code).text == message(future.result(), 400, a_format()), code
