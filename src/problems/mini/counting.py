"""Counting & Probability: committees, draws from a bag, counts by divisibility."""

from __future__ import annotations

from random import Random

from src.problems.mini.notation import latex_ratio
from src.problems.mini.template import Exercise, Params, Template

SUBJECT = "Counting & Probability"


def _choose(n: int, k: int) -> int:
    """Binomial coefficient by the multiplication formula."""
    value = 1
    for i in range(k):
        value = value * (n - i) // (i + 1)
    return value


def _draw_committee(rng: Random, level: int) -> Params:
    if level < 3:
        n = rng.randint(*((5, 14), (12, 45))[level - 1])
        return n, rng.randint(2, (3, 6)[level - 1])
    top, most = ((12, 4), (20, 4), (30, 5))[level - 3]
    return rng.randint(7, top), rng.randint(2, most), rng.randint(7, top), rng.randint(2, most)


def _committee(params: Params) -> Exercise:
    groups = [(params[i], params[i + 1]) for i in range(0, len(params), 2)]
    counts = [_choose(n, k) for n, k in groups]
    answer = counts[0] if len(counts) == 1 else counts[0] * counts[1]
    code = "*".join(f"comb({n}, {k})" for n, k in groups)
    if len(groups) == 1:
        n, k = groups[0]
        wordings = (
            f"In how many ways can ${k}$ of ${n}$ students be chosen?",
            f"How many sets of ${k}$ cards can be picked from ${n}$ cards?",
        )
        falling = r" \cdot ".join(str(n - i) for i in range(k))
        steps = f"In order there are ${falling}$ ways."
    else:
        (n, k), (m, j) = groups
        wordings = (
            f"How many committees of ${k}$ men and ${j}$ women can be formed from ${n}$ men and ${m}$ women?",
            f"In how many ways can we pick ${k}$ of ${n}$ boys and ${j}$ of ${m}$ girls?",
        )
        steps = rf"There are ${counts[0]}$ and ${counts[1]}$ ways."
    return Exercise(
        wordings=wordings,
        answer=str(answer),
        steps=steps,
        code=f"from math import comb\nprint({code})",
        errors=(("comb(", "choose("),),
        blunders=(("import comb\n", "import perm as comb\n"),),
    )


def _draw_bag(rng: Random, level: int) -> Params:
    low, high = ((2, 6), (4, 10), (5, 14), (8, 20), (10, 30))[level - 1]
    k = rng.randint(2, (2, 3, 3, 4, 5)[level - 1])
    return rng.randint(max(low, k), high), rng.randint(low, high), k


def _bag(params: Params) -> Exercise:
    red, blue, k = params
    above = below = 1
    for i in range(k):
        above *= red - i
        below *= red + blue - i
    chances = r" \cdot ".join(rf"\frac{{{red - i}}}{{{red + blue - i}}}" for i in range(min(k, 2)))
    return Exercise(
        wordings=(
            f"A bag holds ${red}$ red and ${blue}$ blue balls. We draw ${k}$ balls without replacement. "
            "What is the probability that all are red?",
            f"We draw ${k}$ of ${red}$ red and ${blue}$ blue balls at random. "
            "Find the probability that all are red.",
        ),
        answer=latex_ratio(above, below),
        steps=f"The first two give ${chances}$.",
        code="from math import comb\nfrom fractions import Fraction\n"
        f"r, b, k = {red}, {blue}, {k}\nprint(Fraction(comb(r, k), comb(r + b, k)))",
        errors=(("comb(r + b", "choose(r + b"),),
        blunders=(("r + b", "b"),) if blue >= k and blue != red else (),
    )


def _draw_multiples(rng: Random, level: int) -> Params:
    n = rng.randint(*((12, 60), (100, 500), (300, 999), (800, 2999), (2000, 9999))[level - 1])
    top = (6, 9, 15, 24, 40)[level - 1]
    while True:
        a, b = sorted(rng.sample(range(2 + (level > 1), top + 1), 2))
        if b % a:
            return rng.randrange(2), n, a, b


def _multiples(params: Params) -> Exercise:
    kind, n, a, b = params
    step = b
    while step % a:
        step += b
    by_a, by_b, by_both = n // a, n // b, n // step
    answer = by_a + by_b - by_both if kind == 0 else by_a - by_both
    said = f"by ${a}$ or ${b}$" if kind == 0 else f"by ${a}$ but not by ${b}$"
    steps = (
        f"There are ${by_a}$, ${by_b}$ and in both ${by_both}$."
        if kind == 0
        else f"There are ${by_a}$, of which ${by_both}$ are out."
    )
    operator, sign = ("or", "==") if kind == 0 else ("and", "!=")
    condition = f"k % {a} == 0 {operator} k % {b} {sign} 0"
    return Exercise(
        wordings=(
            f"How many integers from $1$ to ${n}$ are divisible {said}?",
            f"Count the positive integers up to ${n}$ that are divisible {said}.",
        ),
        answer=str(answer),
        steps=steps,
        code=f"print(sum(1 for k in range(1, {n} + 1) if {condition}))",
        errors=((f"{sign} 0", "= 0"), (f"range(1, {n} + 1)", str(n))),
        blunders=((f" {operator} ", " and " if kind == 0 else " or "),),
    )


TEMPLATES = (
    Template("committee", SUBJECT, _draw_committee, _committee),
    Template("red_balls", SUBJECT, _draw_bag, _bag),
    Template("divisible_count", SUBJECT, _draw_multiples, _multiples),
)
