"""Geometry: the mini family's templates in several phrasings, with programs that print the exact answer.

The mini family's own programs give decimals there; its policy is to learn to do without code. Here the
subject is like the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from src.problems.mini import geometry as mini
from src.problems.mini.notation import FRACTION
from src.problems.mini.template import Edit, Exercise, Params
from src.problems.worded import geometry_phrasings as said
from src.problems.worded.phrasing import Told, rephrased

SYMPY = "from sympy import *\n"
FRACTIONS: Edit = ("Fraction(", "Fractions(")
Program = tuple[str, tuple[Edit, ...], tuple[Edit, ...]]  # code, errors, blunders


def _with(program: Callable[[Params], Program]) -> Callable[[Params, Exercise], Exercise]:
    def revise(params: Params, exercise: Exercise) -> Exercise:
        code, errors, blunders = program(params)
        return replace(exercise, code=code, errors=errors, blunders=blunders)

    return revise


def _similar(params: Params) -> Told:
    kind, m, n, shape = params
    given, asked = ((1, 2), (1, 3), (2, 3), (3, 2))[kind]
    names = {
        1: "corresponding sides" if kind == 0 else "heights",
        2: "areas" if kind == 0 else "surface areas",
        3: "volumes",
    }
    return said.SIMILAR.fill(
        shapes=(mini.FLAT if kind == 0 else mini.SOLID)[shape],
        given=names[given],
        asked=names[asked],
        a=m**given,
        b=n**given,
    )


def _similar_program(params: Params) -> Program:
    kind, m, n, _ = params
    given, asked = ((1, 2), (1, 3), (2, 3), (3, 2))[kind]
    a, b = m**given, n**given
    root = ("", "a, b = isqrt(a), isqrt(b)\n", "a, b = round(a ** (1/3)), round(b ** (1/3))\n")[given - 1]
    code = (
        f"{FRACTION}{'from math import isqrt' + chr(10) if given == 2 else ''}a, b = {a}, {b}\n"
        f"{root}print(Fraction(a, b)**{asked})"
    )
    return code, (FRACTIONS, ("Fraction(a, b)", "Fraction(a b)")), ((f"**{asked}", f"*{asked}"),)


def _arcs(params: Params) -> Told:
    kind, p, q = params
    return said.ARCS[kind].fill(p=p, q=q, angle=(p + q) // 2)


def _arcs_program(params: Params) -> Program:
    kind, p, q = params
    if kind == 3:
        code = f"angle, p = {(p + q) // 2}, {p}\nprint(2*angle - p)"
        return code, (("2*angle", "2angle"), ("print(", "prints(")), (("2*", ""),)
    sign, wrong = ("-", "+") if kind == 2 else ("+", "-")
    code = f"{FRACTION}p, q = {p}, {q}\nprint(Fraction(p {sign} q, 2))"
    return code, (FRACTIONS, (f"p {sign} q", "pq")), ((f"p {sign} q", f"p {wrong} q"),)


def _square_circle(params: Params) -> Told:
    kind, r, rows = params
    givens, ask = said.FIGURES[kind]
    slots = {"r": r, "d": 2 * r, "p": 8 * r, "area": rf"{r * r} \pi", "rows": rows}
    first, second, third = (given.format(**slots) for given in givens)
    return said.SQUARE_CIRCLE.fill(given=first, other=second, third=third, ask=ask)


def _square_circle_program(params: Params) -> Program:
    kind, r, rows = params
    square = r * r
    # What the problem gives, a formula, and a mistake in it.
    given, formula, blunder = (
        (f"s = {2 * r}", "latex(pi*Rational(s, 2)**2)", ("Rational(s, 2)", "s")),
        (f"r = {r}", "2*r**2", ("2*", "4*")),
        (f"p = {8 * r}", "latex(pi*Rational(p, 8)**2)", ("8)", "4)")),
        (f"area = {square}*pi", "4*area/pi", ("4*", "2*")),
        (f"c = {2 * r}", "latex(pi*Rational(c, 2)**2)", ("Rational(c, 2)", "c")),
        (f"r = {r}", "latex((2*r)**2 - pi*r**2)", ("(2*r)**2", "2*r**2")),
        (f"r = {r}", "latex(pi*r**2 - 2*r**2)", ("2*r**2", "r**2")),
        (f"r = {r}", "latex(pi*(2*r)**2)", ("(2*r)**2", "2*r**2")),
        (
            f"s, n = {2 * r}, {rows}",
            "latex(n**2*pi*Rational(s, 2*n)**2)",
            ("2*n", "n"),
        ),
    )[kind]
    code = f"{SYMPY if 'pi' in given + formula else ''}{given}\nprint({formula})"
    pi = ("pi", "Pi") if "pi" in formula else ("print(", "prints(")
    return code, (pi, ("**2", "**") if formula.endswith(("**2", "**2)")) else ("(", "[")), (blunder,)


def _parts(params: Params) -> Told:
    rest, p, q, r, s = params
    points = rf"$AD = \frac{{{p}}}{{{q}}} AB$ and $AE = \frac{{{r}}}{{{s}}} AC$"
    return said.PARTS.fill(points=points, part=("triangle $ADE$", "quadrilateral $BCED$")[rest])


def _parts_program(params: Params) -> Program:
    rest, p, q, r, s = params
    code = f"{FRACTION}x = Fraction({p}, {q})\ny = Fraction({r}, {s})\nprint({'1 - ' if rest else ''}x*y)"
    blunder = ("1 - ", "") if rest else ("x*y", "x + y")
    return code, (FRACTIONS, ("x*y", "xy")), (blunder,)


def _centers(params: Params) -> Told:
    kind, a, b = params
    first, second, third = said.POINTS[kind]
    return said.CENTERS.fill(a=a, b=b, point=first, other=second, third=third)


def _centers_program(params: Params) -> Program:
    kind, a, b = params
    formula = ("a + b", "(a + b)//2", "180 - (a + b)//2", "360 - 2*(a + b)")[kind]
    blunder = (("a + b", "180 - a - b"), ("a + b", "a - b"), ("180 - ", ""), ("2*", ""))[kind]
    errors = (("a + b", "a b"), ("2*", "2 x ")) if kind == 3 else (("a + b", "a b"), ("print(", "prints("))
    return f"a, b = {a}, {b}\nprint({formula})", errors, (blunder,)


TELLERS = {
    "similar_figures": (_similar, 1, _similar_program),
    "circle_arcs": (_arcs, 2, _arcs_program),
    "square_circle": (_square_circle, 2, _square_circle_program),
    "triangle_parts": (_parts, 2, _parts_program),
    "triangle_centers": (_centers, 1, _centers_program),
}
TEMPLATES = tuple(
    rephrased(template, tell, keep, _with(program))
    for template in mini.TEMPLATES
    for tell, keep, program in [TELLERS[template.name]]
)
