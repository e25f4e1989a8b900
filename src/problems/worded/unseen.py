"""Templates that are never trained on, one per subject: the split ``heldout_templates``."""

from __future__ import annotations

from random import Random

from src.problems.mini.notation import FRACTION, latex_polynomial, latex_ratio, python_polynomial, signed
from src.problems.mini.template import Exercise, Params, Template
from src.problems.worded.phrasing import Phrasings

COMPOSITION = Phrasings(
    (
        "Let $f(x) = {f}$ and $g(x) = {g}$. Find $f(g({x}))$.",
        "If $g(x) = {g}$ and $f(x) = {f}$, what is $f(g({x}))$?",
        "The number ${x}$ is put into the function $g(x) = {g}$, and the result into $f(x) = {f}$. Which "
        "number comes out in the end?",
        "For $f(x) = {f}$ and $g(x) = {g}$, compute the value of the composition $(f \\circ g)(x)$ at $x = "
        "{x}$.",
    )
)


def _draw_composition(rng: Random, level: int) -> Params:
    top = (4, 7, 9, 12, 19)[level - 1]
    degree = 1 if level == 1 else 2
    outer = [rng.randint(1, top)] + [signed(rng, 1, top) for _ in range(degree)]
    x = rng.randint(1, top) if level < 3 else signed(rng, 2, top)
    return x, rng.randint(2, top), signed(rng, 1, top), *outer


def _composition(params: Params) -> Exercise:
    x, a, b, *outer = params
    inner = a * x + b
    value = 0
    for coefficient in outer:
        value = value * inner + coefficient
    f = python_polynomial(outer, "y")
    told = COMPOSITION.fill(f=latex_polynomial(outer), g=latex_polynomial((a, b)), x=x)
    return Exercise(
        wordings=told.trained,
        answer=str(value),
        steps=f"First $g({x}) = {inner}$, then we need $f({inner})$.",
        code=f"x = {x}\ny = {python_polynomial((a, b))}\nprint({f})",
        errors=((f"{a}*x", f"{a}x"), ("y = ", "z = ")),
        blunders=((f"{a}*x", f"{a} + x"), ("y = ", "y = x + ")),
    )


CONGRUENCE = Phrasings(
    (
        "Find the smallest positive integer $x$ such that ${a}x$ leaves the remainder ${r}$ on division by "
        "${m}$.",
        "What is the least positive integer $x$ with ${a}x \\equiv {r} \\pmod{{{m}}}$?",
        "A number is multiplied by ${a}$, and the product leaves the remainder ${r}$ when divided by ${m}$. "
        "Determine the smallest positive integer that this number can be.",
        "Which is the smallest positive integer $x$ for which ${a}x - {r}$ is a multiple of ${m}$?",
    )
)


def _draw_congruence(rng: Random, level: int) -> Params:
    primes = (
        (7, 11, 13, 17, 19),
        (19, 23, 29, 31, 37),
        (41, 43, 47, 53, 59),
        (101, 103, 107, 109, 113, 127),
        (211, 223, 227, 229, 233, 239),
    )[level - 1]
    m = rng.choice(primes)
    return rng.randint(2, m - 1), rng.randint(1, m - 1), m


def _congruence(params: Params) -> Exercise:
    a, r, m = params
    product = r
    while product % a:
        product += m
    told = CONGRUENCE.fill(a=a, r=r, m=m)
    return Exercise(
        wordings=told.trained,
        answer=str(product // a),
        steps=f"The numbers with this remainder are ${r}$, ${r + m}$, ${r + 2 * m}$ and so on. The first "
        f"that ${a}$ "
        f"divides is ${product}$.",
        code=f"x = 1\nwhile {a}*x % {m} != {r}:\n    x += 1\nprint(x)",
        errors=((f"{a}*x", f"{a}x"), ("!= ", "=! "), (":\n", "\n")),
        blunders=((f"!= {r}", f"== {r}"), ("print(x", f"print({a}*x")),
    )


DICE = Phrasings(
    (
        "Two fair dice have ${n}$ sides each, numbered from $1$ to ${n}$. What is the probability that the "
        "sum of one roll of both is ${s}$?",
        "When two fair dice with ${n}$ sides, numbered from $1$ to ${n}$, are rolled, the two numbers may "
        "differ or be the same. Find the probability that they add up to ${s}$.",
        "A fair spinner shows each of the numbers $1$ to ${n}$ with the same probability. It is spun twice. "
        "How likely, as a fraction, is a total of exactly ${s}$?",
        "Two integers from $1$ to ${n}$ are picked at random, independently and each equally likely. "
        "Compute the probability that their sum equals ${s}$.",
    )
)


def _draw_dice(rng: Random, level: int) -> Params:
    low, high = ((4, 10), (8, 20), (13, 30), (25, 60), (50, 120))[level - 1]
    n = rng.randint(low, high)
    return n, rng.randint(3, 2 * n - 1)


def _dice(params: Params) -> Exercise:
    n, s = params
    count = s - 1 if s <= n + 1 else 2 * n + 1 - s
    told = DICE.fill(n=n, s=s)
    return Exercise(
        wordings=told.trained,
        answer=latex_ratio(count, n * n),
        steps=rf"There are ${n} \cdot {n} = {n * n}$ equally likely pairs, and ${count}$ have this sum.",
        code=f"{FRACTION}n, s = {n}, {s}\nsides = range(1, n + 1)\n"
        "good = sum(1 for a in sides for b in sides if a + b == s)\nprint(Fraction(good, n**2))",
        errors=(("== s", "= s"), ("Fraction(", "Fractions("), ("good, n", "good n")),
        blunders=(("== s", "<= s"), ("n**2", "2*n")),
    )


PERCENT = Phrasings(
    (
        "A price of ${price}$ dollars rises by ${up}$ percent and then falls by ${down}$ percent of the new "
        "price. What is it in the end, in dollars? Give the exact value.",
        "First add ${up}$ percent to ${price}$. Then take away ${down}$ percent of the result. Which number "
        "do you get, exactly?",
        "If ${price}$ is increased by ${up}$ percent, and what comes out is decreased by ${down}$ percent, "
        "find the final value. Do not round.",
        "The number of visitors of a website in thousands was ${price}$. It grew by ${up}$ percent in the "
        "first year and shrank by ${down}$ percent in the second. How many thousands was it then, exactly?",
    )
)


def _draw_percent(rng: Random, level: int) -> Params:
    step, top = ((10, 20), (5, 80), (5, 300), (1, 600), (1, 2000))[level - 1]
    unit = 10 if level < 3 else 1
    return unit * rng.randint(2, top), step * rng.randint(1, 90 // step), step * rng.randint(1, 90 // step)


def _percent(params: Params) -> Exercise:
    price, up, down = params
    told = PERCENT.fill(price=price, up=up, down=down)
    return Exercise(
        wordings=told.trained,
        answer=latex_ratio(price * (100 + up) * (100 - down), 10000),
        steps=rf"We multiply ${price}$ by $\frac{{{100 + up}}}{{100}}$ and by "
        rf"$\frac{{{100 - down}}}{{100}}$.",
        code=f"{FRACTION}x = Fraction({price})\nx = x*(100 + {up})/100\nx = x*(100 - {down})/100\nprint(x)",
        errors=(("Fraction(", "Fractions("), ("x*(100 - ", "x(100 - "), ("print(x", "print(X")),
        blunders=((f"100 - {down}", f"{down}"), (f"100 + {up}", f"{up}")),
    )


TELESCOPE = Phrasings(
    (
        "Compute $\\sum_{{k={low}}}^{{{high}}} \\frac{{1}}{{k(k+1)}}$ as a fraction in lowest terms.",
        "What is the exact value of the sum of $\\frac{{1}}{{k(k+1)}}$ for all integers $k$ from ${low}$ to "
        "${high}$?",
        "Add the fractions $\\frac{{1}}{{n(n+1)}}$ for $n = {low}, {next}, \\ldots, {high}$. Which fraction "
        "in lowest terms is the result?",
        "For every integer $m$ with ${low} \\le m \\le {high}$, take the reciprocal of $m(m+1)$. Find the "
        "exact sum of these reciprocals.",
    )
)


def _draw_telescope(rng: Random, level: int) -> Params:
    low = rng.randint(1, (6, 12, 25, 40, 90)[level - 1])
    return low, low + rng.randint(*((3, 12), (5, 20), (9, 40), (20, 90), (40, 200))[level - 1])


def _telescope(params: Params) -> Exercise:
    low, high = params
    told = TELESCOPE.fill(low=low, next=low + 1, high=high)
    return Exercise(
        wordings=told.trained,
        answer=latex_ratio(high + 1 - low, low * (high + 1)),
        steps=rf"Each term is a difference of reciprocals, and $\frac{{1}}{{{low}}} - "
        rf"\frac{{1}}{{{high + 1}}}$ remains.",
        code=f"{FRACTION}print(sum(Fraction(1, k*(k + 1)) for k in range({low}, {high} + 1)))",
        errors=(("k*(", "k("), ("1, k", "1 k")),
        blunders=((f"{high} + 1", f"{high}"), ("k*(k + 1)", "k**2")),
    )


CORNERS = Phrasings(
    (
        "Find the area of the triangle with the vertices $({a}, {b})$, $({c}, {d})$ and $({e}, {f})$.",
        "The corners of a triangle are $P = ({a}, {b})$, $Q = ({c}, {d})$ and $R = ({e}, {f})$. How large "
        "is its area?",
        "In the coordinate plane, the points $({a}, {b})$, $({c}, {d})$ and $({e}, {f})$ are joined by line "
        "segments. What area do these enclose?",
        "A triangular field on a map with square units has corners at $({a}, {b})$, $({c}, {d})$ and $({e}, "
        "{f})$. Determine its area in these units.",
    )
)


def _draw_corners(rng: Random, level: int) -> Params:
    top = (6, 9, 15, 40, 99)[level - 1]
    low = 0 if level == 1 else -top
    while True:
        a, b, c, d, e, f = (rng.randint(low, top) for _ in range(6))
        if (c - a) * (f - b) != (e - a) * (d - b):
            return a, b, c, d, e, f


def _corners(params: Params) -> Exercise:
    a, b, c, d, e, f = params
    twice = abs(a * d - c * b + c * f - e * d + e * b - a * f)
    told = CORNERS.fill(a=a, b=b, c=c, d=d, e=e, f=f)
    return Exercise(
        wordings=told.trained,
        answer=latex_ratio(twice, 2),
        steps=f"Two sides are the vectors $({c - a}, {d - b})$ and $({e - a}, {f - b})$, and the area is "
        f"half the size of "
        "their determinant.",
        code=f"{FRACTION}a, b, c, d, e, f = {a}, {b}, {c}, {d}, {e}, {f}\n"
        "twice = abs((c - a)*(f - b) - (e - a)*(d - b))\nprint(Fraction(twice, 2))",
        errors=(("Fraction(", "Fractions("), ("a)*(d", "a)(d"), ("twice = ", "double = ")),
        blunders=(("(twice, 2)", "(twice)"), (" - (e - a)", " + (e - a)")),
    )


TEMPLATES = (
    Template("composition", "Algebra", _draw_composition, _composition),
    Template("congruence", "Number Theory", _draw_congruence, _congruence),
    Template("dice_sum", "Counting & Probability", _draw_dice, _dice),
    Template("percent_changes", "Prealgebra", _draw_percent, _percent),
    Template("telescoping_sum", "Intermediate Algebra", _draw_telescope, _telescope),
    Template("triangle_corners", "Geometry", _draw_corners, _corners),
)
