"""Intermediate Algebra: roots of quadratics, symmetric functions of roots, recurrences, power sums."""

from __future__ import annotations

from random import Random

from src.problems.mini.notation import latex_polynomial, latex_ratio, latex_surd, python_polynomial, signed
from src.problems.mini.template import Exercise, Params, Template

SUBJECT = "Intermediate Algebra"


def _draw_root(rng: Random, level: int) -> Params:
    top = (9, 15, 25, 15, 30)[level - 1]
    while True:
        a = 1 if level < 4 else rng.randint(2, level)
        b, c = signed(rng, 2, top), signed(rng, 1, top)
        if level == 1:
            b *= 2
        inside = b * b - 4 * a * c
        if inside > 0 and round(inside**0.5) ** 2 != inside:
            return a, b, c, rng.choice((1, -1)) if level > 1 else 1


def _root(params: Params) -> Exercise:
    a, b, c, sign = params
    inside = b * b - 4 * a * c
    polynomial = latex_polynomial((a, b, c))
    size = "larger" if sign > 0 else "smaller"
    operator, wrong = ("+", "-") if sign > 0 else ("-", "+")
    return Exercise(
        wordings=(
            f"Find the {size} root of ${polynomial}$.",
            f"What is the {size} solution of ${polynomial} = 0$?",
        ),
        answer=latex_surd(-b, inside, 2 * a, sign),
        steps=f"The discriminant is ${inside}$.",
        code=f"from sympy import *\na, b, c = {a}, {b}, {c}\n"
        f"print(latex((-b {operator} sqrt(b**2 - 4*a*c))/(2*a)))",
        errors=(("4*a", "4a"), ("sqrt(", "sqr(")),
        blunders=((f"-b {operator}", f"b {operator}"), (f"-b {operator}", f"-b {wrong}")),
    )


def _draw_roots(rng: Random, level: int) -> Params:
    a = rng.randint(*((1, 2), (2, 5), (3, 9), (3, 12), (5, 19))[level - 1])
    top = (9, 15, 29, 60, 99)[level - 1]
    while True:
        b, c = signed(rng, 2, top), signed(rng, 1, top)
        if b * b != 4 * a * c:
            return a, b, c


def _roots(params: Params) -> Exercise:
    a, b, c = params
    polynomial = latex_polynomial(params)
    return Exercise(
        wordings=(
            f"The roots of ${polynomial}$ are $r$ and $s$. Find $r^{{2}} + s^{{2}}$.",
            f"What is the sum of the squares of the roots of ${polynomial}$?",
        ),
        answer=latex_ratio(b * b - 2 * a * c, a * a),
        steps=f"We have $r + s = {latex_ratio(-b, a)}$ and $rs = {latex_ratio(c, a)}$.",
        code=f"from fractions import Fraction\na, b, c = {a}, {b}, {c}\nprint(Fraction(b**2 - 2*a*c, a**2))",
        errors=(("2*a*c", "2ac"), (", a**2", " a**2")),
        blunders=(("2*a*c", "4*a*c"),),
    )


def _draw_recurrence(rng: Random, level: int) -> Params:
    first = rng.randint(1, (5, 9, 12, 15, 20)[level - 1])
    factor = rng.choice((2, 3)) if level < 3 else signed(rng, 2, (2, 3, 4)[level - 3])
    n = rng.randint(*((3, 4), (5, 8), (6, 10), (7, 10), (8, 10))[level - 1])
    return first, factor, signed(rng, 1, (5, 9, 15, 25, 50)[level - 1]), n


def _recurrence(params: Params) -> Exercise:
    first, factor, shift, n = params
    # Closed form: the fixed point p satisfies p = factor * p + shift.
    answer = factor ** (n - 1) * first + shift * (factor ** (n - 1) - 1) // (factor - 1)
    values = [first]
    for _ in range(2):
        values.append(factor * values[-1] + shift)
    step = f"a_{{n+1}} = {latex_polynomial((factor, shift), 'a_{n}')}"
    return Exercise(
        wordings=(
            f"Let $a_{{1}} = {first}$ and ${step}$. Find $a_{{{n}}}$.",
            f"A sequence has $a_{{1}} = {first}$ and ${step}$. What is $a_{{{n}}}$?",
        ),
        answer=str(answer),
        steps=f"It starts ${', '.join(map(str, values))}$.",
        code=f"a = {first}\nfor k in range({n} - 1):\n"
        f"    a = {python_polynomial((factor, shift), 'a')}\nprint(a)",
        errors=(("):", ")"), (f"{factor}*a", f"{factor}a")),
        blunders=((f"{n} - 1", f"{n}"),),
    )


def _draw_power_sum(rng: Random, level: int) -> Params:
    low = rng.randint(1, (2, 9, 20, 30, 50)[level - 1])
    high = low + rng.randint(*((2, 4), (8, 20), (15, 50), (20, 60), (30, 99))[level - 1])
    degree = 2 if level < 4 else 3
    top = (9, 2, 5, 3, 9)[level - 1]
    coefficients = [rng.randint(1, top)] + [0] * (degree - 2)
    return low, high, *coefficients, signed(rng, 1, 9) if level > 1 else 0, 0


def _power_sum(params: Params) -> Exercise:
    low, high, *coefficients = params
    top = len(coefficients) - 1

    def up_to(n: int) -> int:
        """Sum for k = 1 to n by the closed formulas."""
        formulas = (n, n * (n + 1) // 2, n * (n + 1) * (2 * n + 1) // 6, (n * (n + 1) // 2) ** 2)
        return sum(c * formulas[top - i] for i, c in enumerate(coefficients))

    several = sum(c != 0 for c in coefficients) > 1
    term = latex_polynomial(coefficients, "k")
    term = f"({term})" if several else term
    source = python_polynomial(coefficients, "k")
    return Exercise(
        wordings=(
            rf"Compute $\sum_{{k={low}}}^{{{high}}} {term}$.",
            f"Find the sum of ${term}$ for $k$ from ${low}$ to ${high}$.",
        ),
        answer=str(up_to(high) - up_to(low - 1)),
        steps=f"Up to ${high}$ the sum is ${up_to(high)}$.",
        code=f"print(sum({source} for k in range({low}, {high} + 1)))",
        errors=(("range(", ""), (f"{high} + 1))", f"{high} + 1)")),
        blunders=((f"{high} + 1", f"{high}"), (f"k**{top}", f"k^{top}")),
    )


TEMPLATES = (
    Template("quadratic_root", SUBJECT, _draw_root, _root),
    Template("root_squares", SUBJECT, _draw_roots, _roots),
    Template("recurrence", SUBJECT, _draw_recurrence, _recurrence),
    Template("power_sum", SUBJECT, _draw_power_sum, _power_sum),
)
