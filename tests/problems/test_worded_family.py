"""The worded family: its splits, its size, and what loads it."""

from __future__ import annotations

import hashlib
import inspect
import json
import random
from collections import Counter
from dataclasses import asdict
from itertools import islice

import pytest

from src.config import LEVELS, SUBJECTS, WORDED_SPLITS, DataConfig, named_benchmark
from src.problems import Problem, ProblemError, load_benchmark, load_data, load_problems
from src.problems.mini import family as mini
from src.problems.worded.family import (
    STORIES,
    TEMPLATES,
    UNSEEN,
    WORDED,
    generate,
    split_of,
    stream,
)

DIGESTS = {  # of 200 problems each
    "train": "a80d4bbe732db64b",
    "heldout": "ca30accb70c80a56",
    "heldout_phrasings": "656a714237314faa",
    "heldout_templates": "eb566abef59449b6",
}


def test_there_are_templates_and_word_problems_of_every_subject_on_every_side() -> None:
    names = [template.name for template in TEMPLATES + UNSEEN]
    assert len(set(names)) == len(names)
    assert {template.name for template in mini.TEMPLATES} < set(names)
    for templates in (TEMPLATES, UNSEEN, STORIES):
        assert {template.subject for template in templates} == set(SUBJECTS)
    assert len(STORIES) >= 8


@pytest.mark.parametrize("split", DIGESTS)
def test_the_family_has_not_changed(split: str) -> None:
    content = json.dumps([asdict(problem) for problem in generate(200, 0, split)])
    assert hashlib.sha256(content.encode()).hexdigest()[:16] == DIGESTS[split]


def test_no_problem_is_on_two_sides_whatever_the_seeds() -> None:
    ids: dict[str, str] = {}
    texts: dict[str, str] = {}
    for split in WORDED.splits:
        for seed in range(2):
            for problem in generate(800 if split == "train" else 400, seed, split):
                assert ids.setdefault(problem.id, split) == split
                assert texts.setdefault(problem.text, split) == split


def test_what_the_mini_family_holds_out_is_not_trained_on() -> None:
    for problem in mini.generate(1500, 7, "heldout"):
        _, name, *numbers = problem.id.split("/")
        template = next(template for template in TEMPLATES if template.name == name)
        assert split_of(template, tuple(map(int, numbers))) in ("heldout", "heldout_phrasings")


def test_the_order_of_its_numbers_does_not_put_a_word_problem_on_another_side() -> None:
    rng = random.Random(0)
    for template in STORIES:
        for _ in range(20):
            params = template.draw(rng, 3)
            assert split_of(template, params) == split_of(template, params[::-1])


@pytest.mark.parametrize("split", WORDED.splits)
def test_a_stream_gives_its_side_in_its_phrasings(split: str) -> None:
    for instance in islice(stream("seed", split, SUBJECTS, LEVELS), 400):
        template = instance.template
        assert split_of(template, instance.params) == split
        exercise = template.write(instance.params)
        unseen = split == "heldout_phrasings"
        assert instance.exercise.wordings == (exercise.unseen if unseen else exercise.wordings)
        assert (template in UNSEEN) == (split == "heldout_templates")
        assert instance.problem(0).source == "worded"
        assert instance.problem(0).id == f"worded/{instance.key}"


def test_its_functions_are_called_as_those_of_the_mini_family() -> None:
    for own, other in ((stream, mini.stream), (generate, mini.generate)):
        named = [name for name in inspect.signature(other).parameters if name != "family"]
        assert list(inspect.signature(own).parameters) == named


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_has_hundreds_of_different_problems_on_every_side(level: int) -> None:
    for split in WORDED.splits:
        count = 800 if split == "train" else 400
        problems = generate(count, 5, split, levels=[level])
        assert len({problem.id for problem in problems}) == count
        assert {problem.level for problem in problems} == {level}


def test_no_side_of_a_template_is_nearly_empty() -> None:
    """Drawing from it would take for ever."""
    sides = ("train", "heldout", "heldout_phrasings")
    for template in TEMPLATES:
        for level in LEVELS:
            rng = random.Random(level)
            drawn = Counter(split_of(template, template.draw(rng, level)) for _ in range(1500))
            assert min(drawn[side] for side in sides) >= 15, (template.name, level)


def test_subjects_and_levels_can_be_chosen() -> None:
    subjects = ["Geometry", "Algebra"]
    cfg = DataConfig(kind="worded", train_size=60, heldout_size=30, subjects=subjects, levels=[2])
    for split, size in (("train", 60), ("heldout", 30)):
        problems = load_problems(cfg, split)
        assert Counter(problem.subject for problem in problems) == dict.fromkeys(subjects, size // 2)
        assert {problem.level for problem in problems} == {2}


def test_it_loads_as_training_data_and_as_benchmarks() -> None:
    data = load_data(DataConfig(kind="worded", train_size=40, heldout_size=20))
    assert (len(data.train), len(data.heldout)) == (40, 20)
    assert data.report["heldout"]["name"] == "worded"
    names = dict(zip(("worded", "worded_phrasings", "worded_templates"), WORDED_SPLITS, strict=True))
    seen: list[Problem] = list(data.train)
    for name, split in names.items():
        problems = load_benchmark(named_benchmark(name))
        assert len(problems) == 400
        assert {problem.source for problem in problems} == {name}
        assert [problem.text for problem in problems] == [problem.text for problem in generate(400, 0, split)]
        assert not {problem.id for problem in seen} & {problem.id for problem in problems}
        seen += problems


def test_impossible_requests_say_so() -> None:
    with pytest.raises(ProblemError, match=r"split: \['test'\]; choose from train, heldout, heldout_phr"):
        generate(5, 0, "test")
    says = (
        r"worded family has no more than \d+ different heldout_phrasings .* lower the size of the benchmark"
    )
    with pytest.raises(ProblemError, match=says):
        generate(5000, 0, "heldout_phrasings", subjects=["Geometry"], levels=[1])
