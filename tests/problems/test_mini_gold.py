"""Gold answers against a second method: the template's program, or coordinates for Geometry."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator

import pytest
from math_verify import parse, verify

from src.config import LEVELS
from src.problems.mini.family import TEMPLATES, Instance, draw
from src.problems.mini.interpreter import run_own
from src.problems.mini.template import Params, Template

COMPUTED = [template for template in TEMPLATES if template.subject != "Geometry"]
GEOMETRY = [template for template in TEMPLATES if template.subject == "Geometry"]


def instances(template: Template, each: int) -> Iterator[Instance]:
    for level in LEVELS:
        for seed in range(each):
            yield draw(random.Random(f"{level}-{seed}"), template, level, ("train", "heldout")[seed % 2])


def equivalent(gold: str, answer: str) -> bool:
    return bool(verify(parse(f"${gold}$"), parse(f"$\\boxed{{{answer}}}$")))


@pytest.mark.parametrize("template", COMPUTED, ids=lambda template: template.name)
def test_gold_answers_are_what_the_program_prints(template: Template) -> None:
    for instance in instances(template, 8):
        said = run_own(instance.exercise.code)
        assert said.ok, said
        assert equivalent(instance.exercise.answer, said.text), (instance.key, instance.exercise.answer, said)


def polar(radius: float, degrees: float) -> complex:
    return radius * complex(math.cos(math.radians(degrees)), math.sin(math.radians(degrees)))


def angle(a: complex, vertex: complex, b: complex) -> float:
    """Angle in degrees between the rays from ``vertex`` to ``a`` and ``b``."""
    ratio = (a - vertex) / (b - vertex)
    return abs(math.degrees(math.atan2(ratio.imag, ratio.real)))


def crossing(a: complex, b: complex, c: complex, d: complex) -> complex:
    """Where the lines ``ab`` and ``cd`` meet."""
    u, v = b - a, d - c
    t = ((c - a).real * v.imag - (c - a).imag * v.real) / (u.real * v.imag - u.imag * v.real)
    return a + t * u


def area(*corners: complex) -> float:
    """Area of a polygon by the shoelace formula."""
    pairs = zip(corners, corners[1:] + corners[:1], strict=True)
    return abs(sum(a.real * b.imag - a.imag * b.real for a, b in pairs)) / 2


def similar_figures(params: Params) -> float:
    kind, m, n, _ = params
    given, asked = ((1, 2), (1, 3), (2, 3), (3, 2))[kind]
    return math.exp(asked / given * math.log(m**given / n**given))


def circle_arcs(params: Params) -> float:
    kind, p, q = params
    if kind == 1:
        return angle(polar(1, 0), polar(1, p + q + 50), polar(1, p + q))
    if kind == 2:  # the near arc lies symmetrically opposite the far one
        gap = (360 - p - q) / 2
        far, near = (polar(1, 0), polar(1, p)), (polar(1, p + gap + q), polar(1, p + gap))
        outside = crossing(far[0], near[0], far[1], near[1])
        return angle(far[0], outside, far[1])

    def inside(arc: float) -> float:
        a, b, c, d = polar(1, 0), polar(1, p), polar(1, p + 37), polar(1, p + 37 + arc)
        return angle(a, crossing(a, c, b, d), b)

    if kind == 0:
        return inside(q)
    low, high = 0.0, 320.0 - p  # the arc that makes the given angle, by bisection
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle) < inside(q) else (low, middle)
    return low


def square_circle(params: Params) -> float:
    kind, r, rows = params
    disc = sum(2 * math.sqrt(r * r - x * x) for x in grid(r)) * 2 * r / STRIPS
    inner_square = area(*(polar(r, turn) for turn in (0, 90, 180, 270)))
    outer_square = area(*(polar(r * math.hypot(1, 1), turn) for turn in (45, 135, 225, 315)))
    if kind == 4:  # any two radii with this tangent chord will do
        small = 3.0
        return math.pi * abs(complex(small, r)) ** 2 - math.pi * small**2
    if kind == 7:
        corner = crossing(complex(-1, -r), complex(1, -r), polar(r, 30), polar(r, 30) + 1j * polar(1, 30))
        return math.pi * abs(corner) ** 2
    if kind == 8:
        return rows**2 * math.pi * (2 * r / rows / 2) ** 2
    return (disc, inner_square, disc, outer_square, 0.0, outer_square - disc, disc - inner_square)[kind]


STRIPS = 20000


def grid(r: float) -> list[float]:
    """Midpoints of thin strips from ``-r`` to ``r``."""
    return [-r + (2 * i + 1) * r / STRIPS for i in range(STRIPS)]


def triangle_parts(params: Params) -> float:
    rest, p, q, r, s = params
    a, b, c = complex(0.3, 0.1), complex(4.2, 0.7), complex(1.1, 3.9)
    share = area(a, a + (b - a) * p / q, a + (c - a) * r / s) / area(a, b, c)
    return 1 - share if rest else share


def triangle_centers(params: Params) -> float:
    kind, at_a, at_b = params
    a, b = complex(0, 0), complex(5, 0)
    c = crossing(a, a + polar(1, at_a), b, b + polar(1, 180 - at_b))
    middle_c, middle_b = (a + b) / 2, (a + c) / 2
    lines = (
        (a, a + 1j * (c - b), b, b + 1j * (c - a)),
        (a, a + polar(1, 90 + at_a / 2), b, b + polar(1, 90 - at_b / 2)),
        (a, a + polar(1, at_a / 2), b, b + polar(1, 180 - at_b / 2)),
        (middle_c, middle_c + 1j * (b - a), middle_b, middle_b + 1j * (c - a)),
    )
    return angle(a, crossing(*lines[kind]), b)


SECOND: dict[str, Callable[[Params], float]] = {
    function.__name__: function
    for function in (similar_figures, circle_arcs, square_circle, triangle_parts, triangle_centers)
}


@pytest.mark.parametrize("template", GEOMETRY, ids=lambda template: template.name)
def test_geometry_gold_answers_match_a_measurement(template: Template) -> None:
    for instance in instances(template, 8):
        gold = float(parse(f"${instance.exercise.answer}$")[0])
        measured = SECOND[template.name](instance.params)
        assert gold == pytest.approx(measured, rel=1e-4), (instance.key, instance.exercise.answer)


@pytest.mark.parametrize("template", GEOMETRY, ids=lambda template: template.name)
def test_what_a_beginner_programs_in_geometry_is_not_the_answer(template: Template) -> None:
    for instance in instances(template, 20):
        said = run_own(instance.exercise.code)
        assert said.ok
        assert not equivalent(instance.exercise.answer, said.text), (instance.key, said.text)
