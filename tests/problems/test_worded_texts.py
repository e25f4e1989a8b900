"""The worded family's texts: complete, sound as far as a program can tell, and unseen where they must be."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import pytest

from src.config import LEVELS
from src.problems.mini.family import TEMPLATES as MINI
from src.problems.mini.template import Exercise, Template
from src.problems.worded.family import STORIES, TEMPLATES, UNSEEN
from src.problems.worded.stories import unseen as unseen_stories

ALL = TEMPLATES + UNSEEN
TOLD = STORIES + unseen_stories.TEMPLATES
# Numbers in programs that no text has to mention: percent, minutes of an hour, degrees, and formulas.
CONSTANTS = {"0", "1", "2", "3", "60", "100", "180", "360"}
FORMULAS = {"quadratic_root": {"4"}, "square_circle": {"4", "8"}}
NUMBER = re.compile(r"\d+")
MATH = re.compile(r"\$[^$]*\$")


def exercises(template: Template, each: int = 6) -> Iterator[Exercise]:
    for level in LEVELS:
        for seed in range(each):
            yield template.write(template.draw(random.Random(f"{level}/{seed}"), level))


def shape(text: str) -> str:
    """A text without its numbers."""
    return NUMBER.sub("#", text)


@pytest.mark.parametrize("template", ALL, ids=lambda template: template.name)
def test_there_are_enough_phrasings_and_none_is_on_both_sides(template: Template) -> None:
    before = {one.name: one for one in MINI}.get(template.name)
    for exercise in exercises(template):
        trained, unseen = set(map(shape, exercise.wordings)), set(map(shape, exercise.unseen))
        assert len(trained) == len(exercise.wordings)
        assert len(unseen) == len(exercise.unseen)
        assert not trained & unseen
        if template in UNSEEN:
            assert len(trained) >= 4
            assert not unseen
            continue
        assert len(trained) >= 6
        assert len(unseen) >= 2
        if before is not None:
            old = next(exercises(before)).wordings
            assert len(trained | unseen) >= len(old) + 6


def test_no_phrasing_of_one_template_is_an_unseen_one_of_another() -> None:
    trained: set[str] = set()
    unseen: set[str] = set()
    for template in ALL:
        for exercise in exercises(template, 3):
            trained |= set(map(shape, exercise.wordings))
            unseen |= set(map(shape, exercise.unseen))
    assert not trained & unseen


@pytest.mark.parametrize("template", ALL, ids=lambda template: template.name)
def test_every_text_has_every_number_that_the_program_needs(template: Template) -> None:
    for exercise in exercises(template):
        needed = set(NUMBER.findall(re.sub(r"[a-z_]\w*", "", exercise.code)))
        needed -= CONSTANTS | FORMULAS.get(template.name, set())
        for text in exercise.wordings + exercise.unseen:
            assert needed <= set(NUMBER.findall(text)), (needed, text)


@pytest.mark.parametrize("template", ALL, ids=lambda template: template.name)
def test_texts_are_sound(template: Template) -> None:
    for exercise in exercises(template):
        for text in exercise.wordings + exercise.unseen:
            faults(text)
            assert len(text) < 700
        faults(exercise.steps)
        assert "`" not in exercise.steps


def faults(text: str) -> None:
    """Assert what can be checked of English and of LaTeX."""
    assert text.count("$") % 2 == 0, text
    depth = 0
    for sign in text:
        depth += (sign == "{") - (sign == "}")
        assert depth >= 0, text
    assert depth == 0, text
    words = MATH.sub("7", text)
    assert not re.search(r"[{}\\^_<>`]|None(?! of)|False|True", words), text
    assert text[-1] in ".?", text
    assert not re.search(r"\s\s|\s[.,;:?!]|[,;:]\S|\.\.|^\s|\n", words.replace("...", "").replace('"', "")), (
        text
    )
    assert re.match(r"[A-Z7\"]", words), text
    for sentence in re.split(r"(?<=[.?]) ", words.replace('"', "")):
        assert re.match(r"[A-Z7]", sentence), (sentence, text)
    assert not re.search(r"\b[Aa] [aeiou](?!ne\b|ni|se)", words), text
    assert not re.search(r"\b[Aa]n [^aeiouh]", words), text
    assert not re.search(r"\b[Aa] \$?(8|11|18|8\d|8\d\d)\b", text), text
    assert not re.search(r"\b([a-z]+) \1\b", words), text
    assert not re.search(r"(?<![\d.])\b1 [a-z]+s\b(?<!is)(?<!leaves)", text), text


@pytest.mark.parametrize("template", TOLD, ids=lambda template: template.name)
def test_word_problems_have_three_to_six_sentences(template: Template) -> None:
    for exercise in exercises(template):
        for text in exercise.wordings + exercise.unseen:
            sentences = len(re.findall(r"[.?](?= |\"|$)", text))
            assert 3 <= sentences <= 6, (sentences, text)


def test_imperatives_and_questions_are_both_common() -> None:
    for template in ALL:
        exercise = next(exercises(template))
        texts = exercise.wordings + exercise.unseen
        questions = sum("?" in text for text in texts)
        assert 1 <= questions < len(texts), template.name


def test_a_fault_is_found() -> None:
    for text in (
        "How many are there",
        "What is $x?",
        "What is {name}?",
        "What is  this?",
        "Find a apple.",
        "Find an pear.",
        "Find the the sum.",
        "It takes 1 hours.",
        "One is here. two are there.",
    ):
        with pytest.raises(AssertionError):
            faults(text)
