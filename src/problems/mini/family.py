"""The mini family: templates, the split into training and held-out problems, and how problems are drawn.

Parameters alone decide which side of the split a problem is on, so no problem is on both sides
whatever the seeds. Draws depend on the seed string only. The functions serve any :class:`Family`; without
one, they give the mini family.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

from src.config import LEVELS, SUBJECTS
from src.problems.mini import (
    algebra,
    chains,
    counting,
    geometry,
    intermediate_algebra,
    number_theory,
    prealgebra,
)
from src.problems.mini.template import Exercise, Params, Template
from src.problems.problem import Problem, ProblemError

TEMPLATES: tuple[Template, ...] = (
    *algebra.TEMPLATES,
    *number_theory.TEMPLATES,
    *counting.TEMPLATES,
    *prealgebra.TEMPLATES,
    *intermediate_algebra.TEMPLATES,
    *geometry.TEMPLATES,
    *chains.TEMPLATES,
)
SPLITS: tuple[str, ...] = ("train", "heldout")
HELDOUT_IN_256 = 64  # a quarter of the parameters of every template is held out
SIZES = {"train": "data.train_size", "heldout": "data.heldout_size"}
UNSEEN_PHRASINGS = "heldout_phrasings"  # the split that is worded in phrasings which are never trained on
ATTEMPTS = 300  # draws of one template before another of its subject is tried


@dataclass(frozen=True)
class Family:
    """A family of generated problems.

    Attributes:
        name: begins the ids of its problems, and is their source.
        splits: the sides of its split; every template has problems on some of them.
        templates: those with problems on a side.
        split_of: the side of a template with its parameters; nothing else may matter.
    """

    name: str
    splits: tuple[str, ...]
    templates: Callable[[str], tuple[Template, ...]]
    split_of: Callable[[Template, Params], str]


@dataclass(frozen=True)
class Instance:
    """A template with its parameters."""

    template: Template
    params: Params
    level: int
    exercise: Exercise
    family: str = "mini"

    @property
    def key(self) -> str:
        """Names the problem: template and parameters, without the wording."""
        return f"{self.template.name}/{'/'.join(map(str, self.params))}"

    def problem(self, wording: int) -> Problem:
        """The problem in one of its wordings."""
        return Problem(
            id=f"{self.family}/{self.key}",
            text=self.exercise.wordings[wording],
            answer=self.exercise.answer,
            subject=self.template.subject,
            level=self.level,
            source=self.family,
        )


def split_of(template: Template, params: Params) -> str:
    """``heldout`` for a quarter of the parameters of a template, by a hash that never changes."""
    digest = hashlib.sha256(f"{template.name}:{params}".encode()).digest()
    return "heldout" if digest[0] < HELDOUT_IN_256 else "train"


MINI = Family("mini", SPLITS, lambda split: TEMPLATES, split_of)


def draw(rng: Random, template: Template, level: int, split: str, family: Family = MINI) -> Instance:
    """Draw parameters of ``template`` at ``level`` that lie on the given side of the split.

    The wordings of the instance are those that the side may use.
    """
    while True:
        params = template.draw(rng, level)
        if family.split_of(template, params) == split:
            exercise = template.write(params)
            if split == UNSEEN_PHRASINGS:
                exercise = replace(exercise, wordings=exercise.unseen)
            return Instance(template, params, level, exercise, family.name)


def stream(
    seed: str, split: str, subjects: Sequence[str], levels: Sequence[int], family: Family = MINI
) -> Iterator[Instance]:
    """Endless instances, with repetitions; subjects take turns, templates and levels are random."""
    rng = Random(seed)
    templates = family.templates(split)
    while True:
        for subject in subjects:
            template = rng.choice([t for t in templates if t.subject == subject])
            yield draw(rng, template, rng.choice(levels), split, family)


def generate(
    count: int,
    seed: int,
    split: str,
    subjects: Sequence[str] | None = None,
    levels: Sequence[int] | None = None,
    family: Family = MINI,
) -> list[Problem]:
    """Return ``count`` different problems, equally many per subject, in mixed order.

    Args:
        count: how many.
        seed: same seed, same problems.
        split: one of the family's.
        subjects: which subjects; None is all.
        levels: which of the levels 1 to 5; None is all.
        family: whose problems.

    Raises:
        ProblemError: unknown split, subject or level, or fewer different problems than asked for.
    """
    for name, given, known in (
        ("split", [split], family.splits),
        ("data.subjects", SUBJECTS if subjects is None else subjects, SUBJECTS),
        ("data.levels", LEVELS if levels is None else levels, LEVELS),
    ):
        unknown = [value for value in given if value not in known]
        if unknown or not given:
            raise ProblemError(f"{name}: {unknown or 'none given'}; choose from {', '.join(map(str, known))}")
    chosen = list(subjects or SUBJECTS)
    wanted = list(levels or LEVELS)
    rng = Random(f"{family.name}-{split}-{seed}")
    seen: set[str] = set()
    problems: list[Problem] = []
    while len(problems) < count:
        subject = chosen[len(problems) % len(chosen)]
        instance = _fresh(rng, subject, wanted, split, seen, family)
        if instance is None:
            raise ProblemError(
                f"the {family.name} family has no more than {len(problems)} different {split} problems in "
                f"{', '.join(chosen)} at levels {wanted}, but {count} were asked for; "
                f"lower {SIZES.get(split, 'the size of the benchmark')} or allow more subjects and levels"
            )
        seen.add(instance.key)
        problems.append(instance.problem(rng.randrange(len(instance.exercise.wordings))))
    rng.shuffle(problems)
    return problems


def _fresh(
    rng: Random, subject: str, levels: Sequence[int], split: str, seen: set[str], family: Family
) -> Instance | None:
    """A new instance, or None if every template of the subject seems exhausted."""
    templates = [template for template in family.templates(split) if template.subject == subject]
    rng.shuffle(templates)
    level = rng.choice(levels)
    for candidate_level in (level, *levels):
        for template in templates:
            for _ in range(ATTEMPTS):
                instance = draw(rng, template, candidate_level, split, family)
                if instance.key not in seen:
                    return instance
    return None
