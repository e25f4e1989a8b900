"""Prealgebra: multi-digit arithmetic, sums of fractions, means."""

from __future__ import annotations

from random import Random

from src.problems.mini.notation import latex_ratio, signed
from src.problems.mini.template import Exercise, Params, Template

SUBJECT = "Prealgebra"


def _draw_arithmetic(rng: Random, level: int) -> Params:
    high = (9, 60, 150, 99, 400)[level - 1]
    low = (2, 11, 21, 11, 30)[level - 1]
    a, b = rng.randint(low, high), rng.randint(low, high)
    if level < 4:
        return a, b, signed(rng, (1, 20, 20)[level - 1], (20, 999, 4999)[level - 1])
    return a, b, signed(rng, low, high), rng.randint(low, high)


def _arithmetic(params: Params) -> Exercise:
    a, b, c, *rest = params
    d = rest[0] if rest else 1
    sign = "-" if c < 0 else "+"
    other = f"{abs(c)}" + (rf" \cdot {d}" if rest else "")
    expression = rf"{a} \cdot {b} {sign} {other}"
    code = f"{a}*{b} {sign} {abs(c)}" + (f"*{d}" if rest else "")
    return Exercise(
        wordings=(f"Compute ${expression}$.", f"What is ${expression}$?"),
        answer=str(a * b + c * d),
        steps=rf"${a} \cdot {b} = {a * b}$" + (rf" and ${other} = {abs(c) * d}$." if rest else "."),
        code=f"print({code})",
        errors=(("*", "x"), ("print(", "print ") if not rest else ("print(", "printf(")),
        blunders=((f" {sign} ", f" {'+' if c < 0 else '-'} "),),
    )


def _draw_fractions(rng: Random, level: int) -> Params:
    top = (6, 12, 20, 12, 30)[level - 1]
    params: list[int] = []
    for i in range(2 if level < 4 else 3):
        below = rng.randint(2, top)
        above = rng.randint(1, below - 1)
        params += [above if i == 0 or level == 1 else signed(rng, above, above), below]
    return tuple(params)


def _fractions(params: Params) -> Exercise:
    pairs = [(params[i], params[i + 1]) for i in range(0, len(params), 2)]
    text = code = ""
    common = 1
    for above, below in pairs:
        common *= below
        sign = (" - " if above < 0 else " + ") if text else ""
        text += rf"{sign}\frac{{{abs(above)}}}{{{below}}}"
        code += f"{sign}Fraction({abs(above)}, {below})"
    total = sum(above * (common // below) for above, below in pairs)
    floats = code.replace("Fraction(", "").replace(", ", "/").replace(")", "")
    return Exercise(
        wordings=(f"Compute ${text}$.", f"Write ${text}$ as one fraction."),
        answer=latex_ratio(total, common),
        steps=rf"Over ${common}$ the sum is $\frac{{{total}}}{{{common}}}$.",
        code=f"from fractions import Fraction\nprint({code})",
        errors=(("Fraction(", "Fractions("), (f", {pairs[-1][1]}", f" {pairs[-1][1]}")),
        blunders=((f"print({code})", f"print(round({floats}, 2))"),),
    )


def _draw_mean(rng: Random, level: int) -> Params:
    count = (3, 4, 5, 6, 7)[level - 1]
    low, high = ((1, 9), (10, 99), (10, 99), (10, 399), (100, 999))[level - 1]
    return tuple(rng.randint(low, high) for _ in range(count))


def _mean(params: Params) -> Exercise:
    total = 0
    for value in params:
        total += value
    listed = ", ".join(f"${value}$" for value in params[:-1]) + f" and ${params[-1]}$"
    return Exercise(
        wordings=(f"Find the mean of {listed}.", f"What is the average of {listed}?"),
        answer=latex_ratio(total, len(params)),
        steps=f"The sum of the ${len(params)}$ numbers is ${total}$.",
        code=f"from fractions import Fraction\nv = [{', '.join(map(str, params))}]\n"
        "print(Fraction(sum(v), len(v)))",
        errors=(("sum(v)", "v.sum()"), ("len(v)", "length(v)")),
        blunders=(("Fraction(sum(v), len(v))", "sum(v)//len(v)"),) if total % len(params) else (),
    )


TEMPLATES = (
    Template("arithmetic", SUBJECT, _draw_arithmetic, _arithmetic),
    Template("fraction_sum", SUBJECT, _draw_fractions, _fractions),
    Template("mean", SUBJECT, _draw_mean, _mean),
)
