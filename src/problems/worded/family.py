"""The worded family: the mini family's templates in several phrasings, word problems, and unseen templates.

Its splits are

- ``train``;
- ``heldout``: other numbers, in phrasings and of templates that are trained on;
- ``heldout_phrasings``: other numbers again, in phrasings that are never trained on;
- ``heldout_templates``: templates that are never trained on.

Parameters alone decide the side, in word problems whatever their order. What the mini family holds out is
held out here, too: half of it in each of the two splits of trained templates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from src.config import WORDED_SPLITS
from src.problems.mini import family
from src.problems.mini.family import HELDOUT_IN_256, UNSEEN_PHRASINGS, Family, Instance
from src.problems.mini.template import Params, Template
from src.problems.problem import Problem
from src.problems.worded import (
    algebra,
    chains,
    counting,
    geometry,
    intermediate_algebra,
    number_theory,
    prealgebra,
    unseen,
)
from src.problems.worded.stories import amounts, choices, integers, money, rates
from src.problems.worded.stories import unseen as unseen_stories

STORIES: tuple[Template, ...] = (
    *money.TEMPLATES,
    *rates.TEMPLATES,
    *amounts.TEMPLATES,
    *integers.TEMPLATES,
    *choices.TEMPLATES,
)
TEMPLATES: tuple[Template, ...] = (
    *algebra.TEMPLATES,
    *number_theory.TEMPLATES,
    *counting.TEMPLATES,
    *prealgebra.TEMPLATES,
    *intermediate_algebra.TEMPLATES,
    *geometry.TEMPLATES,
    *chains.TEMPLATES,
    *STORIES,
)
UNSEEN: tuple[Template, ...] = (*unseen.TEMPLATES, *unseen_stories.TEMPLATES)
UNSEEN_TEMPLATES = "heldout_templates"
_STORY_NAMES = frozenset(template.name for template in STORIES)
_UNSEEN_NAMES = frozenset(template.name for template in UNSEEN)


def split_of(template: Template, params: Params) -> str:
    """The side of a template with its parameters, by a hash that never changes."""
    if template.name in _UNSEEN_NAMES:
        return UNSEEN_TEMPLATES
    if template.name in _STORY_NAMES:
        params = tuple(sorted(params))  # 3 pens and 5 cups are no other problem than 5 cups and 3 pens
    digest = hashlib.sha256(f"{template.name}:{params}".encode()).digest()
    if digest[0] >= HELDOUT_IN_256:
        return "train"
    return "heldout" if digest[0] < HELDOUT_IN_256 // 2 else UNSEEN_PHRASINGS


WORDED = Family(
    "worded",
    ("train", *WORDED_SPLITS),
    lambda split: UNSEEN if split == UNSEEN_TEMPLATES else TEMPLATES,
    split_of,
)


def stream(seed: str, split: str, subjects: Sequence[str], levels: Sequence[int]) -> Iterator[Instance]:
    """Endless instances, as :func:`src.problems.mini.family.stream` gives them of the mini family."""
    return family.stream(seed, split, subjects, levels, WORDED)


def generate(
    count: int,
    seed: int,
    split: str,
    subjects: Sequence[str] | None = None,
    levels: Sequence[int] | None = None,
) -> list[Problem]:
    """Return different problems, as :func:`src.problems.mini.family.generate` does of the mini family."""
    return family.generate(count, seed, split, subjects, levels, WORDED)
