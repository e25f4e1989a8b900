"""Algebra: linear systems, values of polynomials, products of polynomials."""

from __future__ import annotations

from random import Random

from src.problems.mini.notation import (
    latex_polynomial,
    latex_ratio,
    latex_terms,
    python_polynomial,
    signed,
)
from src.problems.mini.template import Exercise, Params, Template

SUBJECT = "Algebra"


def _draw_system(rng: Random, level: int) -> Params:
    top = (5, 7, 9, 12, 19)[level - 1]
    while True:
        a, c = rng.randint(2, top), rng.randint(2, top)
        b, d = (signed(rng, 2, top) if level > 1 else rng.randint(2, top) for _ in range(2))
        if a * d != b * c:
            break
    e, f = (rng.randint(2, 10 * level) if level < 3 else signed(rng, 10, 20 * level) for _ in range(2))
    return a, b, e, c, d, f, rng.randrange(2)


def _system(params: Params) -> Exercise:
    a, b, e, c, d, f, which = params
    asked, gone = ("x", "y") if which == 0 else ("y", "x")
    above = e * d - b * f if which == 0 else a * f - e * c
    below = a * d - b * c
    first = f"{a}x {'-' if b < 0 else '+'} {abs(b)}y = {e}"
    second = f"{c}x {'-' if d < 0 else '+'} {abs(d)}y = {f}"
    formula = "e*d - b*f" if which == 0 else "a*f - e*c"
    return Exercise(
        wordings=(
            f"If ${first}$ and ${second}$, what is ${asked}$?",
            f"Solve ${first}$, ${second}$ for ${asked}$.",
        ),
        answer=latex_ratio(above, below),
        steps=f"Without ${gone}$ we have ${below}{asked} = {above}$.",
        code=f"from fractions import Fraction\na, b, e = {a}, {b}, {e}\nc, d, f = {c}, {d}, {f}\n"
        f"print(Fraction({formula}, a*d - b*c))",
        errors=((", a*d", " a*d"),),
        blunders=(("a*d - b*c", "a*d + b*c"),),
    )


def _draw_value(rng: Random, level: int) -> Params:
    degree = 2 if level < 4 else 3
    top = (5, 9, 15, 9, 19)[level - 1]
    low, high = ((2, 5), (6, 15), (12, 49), (6, 19), (11, 39))[level - 1]
    coefficients = [rng.randint(2, top)] + [signed(rng, 1, top) for _ in range(degree)]
    x = rng.randint(low, high) if level < 3 else signed(rng, low, high)
    return x, *coefficients


def _value(params: Params) -> Exercise:
    x, *coefficients = params
    top = len(coefficients) - 1
    values = [c * x ** (top - i) for i, c in enumerate(coefficients)]
    polynomial = latex_polynomial(coefficients)
    return Exercise(
        wordings=(
            f"Let $f(x) = {polynomial}$. Find $f({x})$.",
            f"What is ${polynomial}$ at $x = {x}$?",
        ),
        answer=str(sum(values)),
        steps=f"The terms are ${latex_terms(values)}$.",
        code=f"x = {x}\nprint({python_polynomial(coefficients)})",
        errors=((f"{coefficients[0]}*x", f"{coefficients[0]}x"),),
        blunders=((f"x**{top}", f"x^{top}"),),
    )


def _draw_product(rng: Random, level: int) -> Params:
    if level == 1:
        return 1, rng.randint(1, 9), 1, rng.randint(1, 9)
    if level == 2:
        return 1, signed(rng, 2, 19), 1, signed(rng, 2, 19)
    top = (9, 15, 9)[level - 3]
    first = (rng.randint(2, top), signed(rng, 2, top))
    if level < 5:
        return *first, rng.randint(2, top), signed(rng, 2, top)
    return *first, rng.randint(2, top), signed(rng, 2, top), signed(rng, 2, top)


def _product(params: Params) -> Exercise:
    first, second = params[:2], params[2:]
    product = [0] * (len(second) + 1)
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            product[i + j] += a * b
    rows = [[a * b for b in second] for a in first]
    rows[0].append(0)
    partial = " and ".join(f"${latex_polynomial(row)}$" for row in rows)
    code = f"({python_polynomial(first)})*({python_polynomial(second)})"
    text = f"({latex_polynomial(first)})({latex_polynomial(second)})"
    return Exercise(
        wordings=(f"Expand ${text}$.", f"Write ${text}$ as a polynomial."),
        answer=latex_polynomial(product, times=" "),
        steps=f"Add {partial}.",
        code=f'from sympy import *\nx = Symbol("x")\nprint(latex(expand({code})))',
        errors=((")*(", ")("), ("expand(", "expanded(")),
        blunders=((f"- {-params[-1]})", f"+ {-params[-1]})"),) if params[-1] < 0 else (),
    )


TEMPLATES = (
    Template("linear_system", SUBJECT, _draw_system, _system),
    Template("polynomial_value", SUBJECT, _draw_value, _value),
    Template("expand_product", SUBJECT, _draw_product, _product),
)
