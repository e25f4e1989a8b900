"""Phrasings: texts with slots, some of which are never trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from src.problems.mini.template import Exercise, Params, Template


@dataclass(frozen=True)
class Phrasings:
    """Texts of one kind of problem, with ``{slot}`` where a problem's own words and numbers go.

    ``unseen`` ones are used in the split ``heldout_phrasings`` only.
    """

    trained: tuple[str, ...]
    unseen: tuple[str, ...] = ()

    def fill(self, **slots: object) -> Told:
        """Return the texts of one problem."""
        trained, unseen = (
            tuple(text.format(**slots) for text in texts) for texts in (self.trained, self.unseen)
        )
        return Told(trained, unseen)


@dataclass(frozen=True)
class Told:
    """One problem in all its phrasings."""

    trained: tuple[str, ...]
    unseen: tuple[str, ...]


def rephrased(
    template: Template,
    tell: Callable[[Params], Told],
    keep: int = 2,
    revise: Callable[[Params, Exercise], Exercise] | None = None,
) -> Template:
    """Return a template of the mini family in several phrasings.

    Args:
        template: whose name, subject and parameters stay.
        tell: the new phrasings.
        keep: how many of the template's own wordings are trained on, too.
        revise: changes the rest of the exercise, such as its program.
    """

    def write(params: Params) -> Exercise:
        exercise, told = template.write(params), tell(params)
        if revise is not None:
            exercise = revise(params, exercise)
        return replace(exercise, wordings=exercise.wordings[:keep] + told.trained, unseen=told.unseen)

    return Template(template.name, template.subject, template.draw, write)


def rephrase(
    templates: tuple[Template, ...], tellers: dict[str, Callable[[Params], Told]]
) -> tuple[Template, ...]:
    """Return every one of ``templates`` in the phrasings that ``tellers`` have under its name."""
    return tuple(rephrased(template, tellers[template.name]) for template in templates)
