"""Who and what word problems are about.

Names and objects follow from the parameters of a problem, so that they never decide its side of the split.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from src.problems.mini.template import Params

PEOPLE = (
    ("Amira", "she", "her"),
    ("Boris", "he", "his"),
    ("Carla", "she", "her"),
    ("David", "he", "his"),
    ("Elena", "she", "her"),
    ("Farid", "he", "his"),
    ("Grace", "she", "her"),
    ("Hugo", "he", "his"),
    ("Ines", "she", "her"),
    ("Jonas", "he", "his"),
    ("Keiko", "she", "her"),
    ("Liam", "he", "his"),
    ("Mina", "she", "her"),
    ("Nikhil", "he", "his"),
    ("Olga", "she", "her"),
    ("Pablo", "he", "his"),
)
T = TypeVar("T")


def casting(name: str, params: Params) -> Random:
    """Return the choice of names and objects for the parameters of the template ``name``."""
    return Random(f"{name}:{params}")


def people(rng: Random, count: int = 1) -> dict[str, str]:
    """Return slots for people: ``name``, ``she``, ``She``, ``her``, ``Her``, then ``name2`` and so on."""
    slots: dict[str, str] = {}
    for place, (name, she, her) in enumerate(rng.sample(PEOPLE, count)):
        number = str(place + 1) if place else ""
        slots |= {f"name{number}": name, f"she{number}": she, f"her{number}": her}
        slots |= {f"She{number}": she.capitalize(), f"Her{number}": her.capitalize()}
    return slots


def pick(rng: Random, *choices: Sequence[T]) -> tuple[T, ...]:
    """Return one of each of ``choices``."""
    return tuple(rng.choice(options) for options in choices)


def joined(parts: Sequence[str]) -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
