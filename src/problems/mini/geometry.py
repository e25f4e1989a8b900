"""Geometry: problems that need one idea and a small table.

The code given here is what a beginner would try: decimals, degrees turned into radians. It runs, and
its output is not the exact answer.
"""

from __future__ import annotations

from math import gcd
from random import Random

from src.problems.mini.notation import latex_ratio
from src.problems.mini.template import Edit, Exercise, Params, Template

SUBJECT = "Geometry"
FLAT = ("triangles", "rectangles", "pentagons", "hexagons", "octagons", "trapezoids")
SOLID = ("cones", "cylinders", "prisms", "pyramids", "boxes", "bowls")
ROUND: Edit = ("round(", "rounded(")


def _draw_similar(rng: Random, level: int) -> Params:
    top = (7, 12, 9, 9, 9)[level - 1]
    while True:
        n = rng.randint(2, top)
        m = rng.randint(1, n - 1)
        if gcd(m, n) == 1:
            return max(0, level - 2), m, n, rng.randrange(len(FLAT))


def _similar(params: Params) -> Exercise:
    kind, m, n, shape = params
    # Powers of the similarity ratio that are given and asked for.
    given, asked = ((1, 2), (1, 3), (2, 3), (3, 2))[kind]
    names = {
        1: "sides" if kind == 0 else "heights",
        2: "areas" if kind == 0 else "surface areas",
        3: "volumes",
    }
    shapes = (FLAT if kind == 0 else SOLID)[shape]
    a, b = m**given, n**given
    sides = "" if given == 1 else f"Lengths are as ${m}$ to ${n}$. "
    power = {2: "squares", 3: "cubes"}[asked]
    exponent = ("**2", "**3", "**1.5", "**0.67")[kind]
    return Exercise(
        wordings=(
            f"Two similar {shapes} have {names[given]} in the ratio ${a}:{b}$. "
            f"What is the ratio of their {names[asked]}?",
            f"The {names[given]} of two similar {shapes} are as ${a}:{b}$. How are their {names[asked]}?",
        ),
        answer=rf"\frac{{{m**asked}}}{{{n**asked}}}",
        steps=f"{sides}We take {power}: ${m}^{{{asked}}} = {m**asked}$, ${n}^{{{asked}}} = {n**asked}$.",
        code=f"print(round(({a}/{b}){exponent}, 1))",
        errors=(ROUND,),
    )


def _draw_arcs(rng: Random, level: int) -> Params:
    kind = rng.choice(((0, 1), (0, 1, 2), (1, 2, 3), (2, 3), (0, 1, 2, 3))[level - 1])
    rest = 5 * int(level == 5)  # 25, 35, ...: sums and differences are multiples of 10 at every level
    while True:
        p, q = (10 * rng.randint(2, 9 if level < 5 else 10) + rest for _ in range(2))
        if kind != 2 or p > q:
            return kind, p, q


def _arcs(params: Params) -> Exercise:
    kind, p, q = params
    angle = latex_ratio(p + q, 2)
    wordings = (
        (
            f"Chords $AC$ and $BD$ of a circle meet at $P$. Arc $AB$ is ${p}$ and arc $CD$ is ${q}$ degrees. "
            "Find angle $APB$.",
            f"Two chords cross inside a circle and cut off opposite arcs of ${p}$ and ${q}$ degrees. "
            "What is the angle between them?",
        ),
        (
            f"$ABCD$ lies on a circle. Arc $AB$ is ${p}$ and arc $BC$ is ${q}$ degrees. Find angle $ADC$.",
            f"On a circle arc $AB$ is ${p}$ and the next arc $BC$ is ${q}$ degrees, and $D$ is on the rest. "
            "What is angle $ADC$?",
        ),
        (
            f"Two secants from a point $P$ outside a circle cut off arcs of ${p}$ and ${q}$ degrees. "
            "Find the angle at $P$.",
            f"From outside a circle two secants meet it in arcs of ${p}$ and ${q}$ degrees. "
            "What is the angle between them?",
        ),
        (
            f"Chords $AC$ and $BD$ of a circle meet at $P$. Angle $APB$ is ${angle}$ and arc $AB$ is ${p}$ "
            "degrees. Find arc $CD$.",
            f"Two chords cross inside a circle at ${angle}$ degrees and cut off an arc of ${p}$ degrees. "
            "What is the opposite arc?",
        ),
    )
    sum_steps = f"It is half of ${p} + {q} = {p + q}$."
    difference_steps = f"It is half of ${p} - {q} = {p - q}$."
    reversed_steps = f"Both arcs make ${p + q}$, and ${p + q} - {p} = {q}$."
    code = (f"({p} + {q})/2", f"({p} + {q})/2", f"({p} - {q})/2", f"2*{angle} - {p}")[kind]
    return Exercise(
        wordings=wordings[kind],
        answer=(angle, angle, latex_ratio(p - q, 2), str(q))[kind],
        steps=(sum_steps, sum_steps, difference_steps, reversed_steps)[kind],
        code=f"from math import *\nprint(round(radians({code}), 2))",
        errors=(ROUND, ("radians(", "radian(")),
    )


def _draw_square_circle(rng: Random, level: int) -> Params:
    kind = rng.choice(((0, 1, 8), (1, 2, 8), (3, 4, 8), (4, 5, 6), (5, 6, 7, 8))[level - 1])
    r = rng.randint(2, 9 if level < 5 else 12)
    return kind, r, rng.randint(2, 9) if kind == 8 else 1


def _square_circle(params: Params) -> Exercise:
    kind, r, rows = params
    square = r * r
    disc = f"{square} \\pi"
    table = f"${r}^{{2}} = {square}$"
    # What is given, what is asked for, the answer, the reasoning, and a beginner's program.
    given, ask, answer, steps, code = (
        (
            f"A circle is inscribed in a square of side ${2 * r}$.",
            "the area of the circle",
            disc,
            f"The radius is ${r}$ and {table}.",
            f"3.14*{r}**2",
        ),
        (
            f"A square is inscribed in a circle of radius ${r}$.",
            "the area of the square",
            str(2 * square),
            f"It is twice {table}.",
            f"(1.4*{r})**2",
        ),
        (
            f"A square of perimeter ${8 * r}$ has an inscribed circle.",
            "the area of the circle",
            disc,
            f"The radius is ${r}$ and {table}.",
            f"3.14*{r}**2",
        ),
        (
            f"A circle of area ${disc}$ is inscribed in a square.",
            "the area of the square",
            str(4 * square),
            f"The radius is ${r}$ and the area is four times {table}.",
            f"{square}*3.14/0.78",
        ),
        (
            f"A chord of length ${2 * r}$ of a circle touches a smaller circle with the same center.",
            "the area between the circles",
            disc,
            f"By Pythagoras half the chord counts: {table}.",
            f"3.14*{r}**2",
        ),
        (
            f"A circle of radius ${r}$ is inscribed in a square.",
            "the area between them",
            f"{4 * square} - {disc}",
            f"The square has four times {table}, that is ${4 * square}$.",
            f"0.86*{r}**2",
        ),
        (
            f"A square is inscribed in a circle of radius ${r}$.",
            "the area between them",
            f"{disc} - {2 * square}",
            f"The square has twice {table}, that is ${2 * square}$.",
            f"1.14*{r}**2",
        ),
        (
            f"A circle of radius ${r}$ is inscribed in a regular triangle.",
            "the area of its circumcircle",
            f"{4 * square} \\pi",
            f"It has radius ${2 * r}$, so take four times {table}.",
            f"3.14*{2 * r}**2",
        ),
        (
            f"A square of side ${2 * r}$ is filled by ${rows}$ rows of ${rows}$ equal circles.",
            "the total area of the circles",
            disc,
            f"It is the same as for one circle of radius ${r}$, and {table}.",
            f"{rows}*{rows}*3.14*({r}/{rows})**2",
        ),
    )[kind]
    return Exercise(
        wordings=(f"{given} Find {ask}.", f"{given} What is {ask}?"),
        answer=answer,
        steps=steps,
        code=f"print(round({code}, 1))",
        errors=(ROUND,),
    )


def _draw_parts(rng: Random, level: int) -> Params:
    rest = int(level > 3)  # 1: what is left of the triangle
    while True:
        q, s = rng.randint(2, 9), rng.randint(2, 9)
        p = rng.randint(1, q - 1) if level in (2, 3, 5) else 1
        r = rng.randint(1, s - 1) if level in (3, 5) else 1
        # A decimal with one place must not be exact.
        if gcd(p * r, q * s) == 1 and 10 * p * r % (q * s):
            return rest, p, q, r, s


def _parts(params: Params) -> Exercise:
    rest, p, q, r, s = params
    inner, whole = p * r, q * s
    points = rf"$AD = \frac{{{p}}}{{{q}}} AB$ and $AE = \frac{{{r}}}{{{s}}} AC$"
    part = ("triangle $ADE$", "quadrilateral $BCED$")[rest]
    steps = rf"Triangle $ADE$ has ${p} \cdot {r} = {inner}$ of ${q} \cdot {s} = {whole}$ parts"
    steps += f", and ${whole} - {inner} = {whole - inner}$ are left." if rest else "."
    return Exercise(
        wordings=(
            f"On sides $AB$ and $AC$ of triangle $ABC$ lie $D$ and $E$ with {points}. "
            f"What part of its area is {part}?",
            f"In triangle $ABC$ take $D$ and $E$ on sides $AB$ and $AC$ with {points}. "
            f"What fraction of the triangle is {part}?",
        ),
        answer=latex_ratio(whole - inner if rest else inner, whole),
        steps=steps,
        code=f"print(round({'1 - ' if rest else ''}{p}/{q}*{r}/{s}, 1))",
        errors=(ROUND,),
    )


def _draw_centers(rng: Random, level: int) -> Params:
    kind = rng.choice(((0, 1), (1, 2), (0, 2), (2, 3), (0, 1, 2, 3))[level - 1])
    rest = 5 * int(level == 5)
    while True:
        a, b = 10 * rng.randint(1, 14) + rest, 10 * rng.randint(1, 14) + rest
        total = a + b
        # Right and obtuse triangles have their orthocenter and circumcenter elsewhere.
        inside = max(a, b) < 90 and total != 90 if kind == 0 else max(a, b) < 90 < total
        if total < 180 and (inside or kind in (1, 2)):
            return kind, a, b


def _centers(params: Params) -> Exercise:
    kind, a, b = params
    total = a + b
    half = total // 2
    points = (
        "The altitudes from $A$ and $B$ meet at $P$.",
        "The bisectors of the exterior angles at $A$ and $B$ meet at $P$.",
        "The bisectors of the angles at $A$ and $B$ meet at $P$.",
        "The circumcenter is $P$.",
    )
    steps = (
        f"It is ${a} + {b} = {total}$.",
        f"It is half of ${a} + {b} = {total}$.",
        f"Half of ${a} + {b} = {total}$ is ${half}$ and $180 - {half} = {180 - half}$.",
        f"With ${a} + {b} = {total}$ it is twice $180 - {total} = {180 - total}$.",
    )
    codes = (f"{a} + {b}", f"({a} + {b})/2", f"180 - ({a} + {b})/2", f"360 - 2*({a} + {b})")
    return Exercise(
        wordings=(
            f"In triangle $ABC$ angle $A$ is ${a}$ and angle $B$ is ${b}$ degrees. {points[kind]} "
            "Find angle $APB$.",
            f"Triangle $ABC$ has angles ${a}$ at $A$ and ${b}$ at $B$. {points[kind]} What is angle $APB$?",
        ),
        answer=str((total, half, 180 - half, 360 - 2 * total)[kind]),
        steps=steps[kind],
        code=f"from math import *\nprint(round(radians({codes[kind]}), 2))",
        errors=(ROUND, ("radians(", "radian(")),
    )


TEMPLATES = (
    Template("similar_figures", SUBJECT, _draw_similar, _similar),
    Template("circle_arcs", SUBJECT, _draw_arcs, _arcs),
    Template("square_circle", SUBJECT, _draw_square_circle, _square_circle),
    Template("triangle_parts", SUBJECT, _draw_parts, _parts),
    Template("triangle_centers", SUBJECT, _draw_centers, _centers),
)
