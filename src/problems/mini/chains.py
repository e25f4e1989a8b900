"""Chains: problems whose answer takes two or three quantities, each computed from the one before.

A beginner writes a program for each, so that such a problem takes several executions; in one program it takes
one. This is where the interaction budget matters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from src.problems.mini.template import LAST, Edit, Exercise, Params, Program, Template

LETTERS = "ab"


@dataclass(frozen=True)
class Link:
    """A quantity that is computed from the one before.

    Attributes:
        draw: two parameters for a level.
        say: names the quantity, given the parameters and the name of the quantity before.
        value: computes it by plain arithmetic, given the parameters and the value before.
        code: is a Python expression for it, given the parameters and the name before.
        errors, blunders: see :class:`~src.problems.mini.template.Program`.
        head: a line that the program begins with.
    """

    draw: Callable[[Random, int], tuple[int, int]]
    say: Callable[[int, int, str], str]
    value: Callable[[int, int, int], int]
    code: Callable[[int, int, str], str]
    errors: tuple[Edit, ...]
    blunders: tuple[Edit, ...]
    head: str = ""


def _between(*ranges: tuple[tuple[int, int], tuple[int, int]]) -> Callable[[Random, int], tuple[int, int]]:
    """Draw two parameters from the ranges of a level; the last ranges hold for higher levels, too."""

    def draw(rng: Random, level: int) -> tuple[int, int]:
        first, second = ranges[min(level, len(ranges)) - 1]
        return rng.randint(*first), rng.randint(*second)

    return draw


def _divisor_count(n: int) -> int:
    count, p = 1, 2
    while n > 1:
        power = 0
        while n % p == 0:
            n //= p
            power += 1
        count *= power + 1
        p += 1
    return count


def _digit_sum(n: int) -> int:
    total = 0
    while n:
        n, digit = divmod(n, 10)
        total += digit
    return total


NUMBER_THEORY = (
    Link(
        _between(((12, 60), (0, 0)), ((40, 200), (0, 0)), ((100, 999), (0, 0)), ((500, 2999), (0, 0))),
        lambda n, _, before: f"the number of positive divisors of ${n}$",
        lambda n, _, before: _divisor_count(n),
        lambda n, _, before: f"sum(1 for d in range(1, {n} + 1) if {n} % d == 0)",
        (("== 0", "= 0"), ("range(", "")),
        ((" + 1)", ")"),),
    ),
    Link(
        _between(((2, 9), (7, 19)), ((3, 19), (11, 30)), ((5, 49), (17, 60)), ((11, 99), (31, 99))),
        lambda b, m, before: f"the remainder of ${b}^{{{before}}}$ divided by ${m}$",
        lambda b, m, before: b**before % m,
        lambda b, m, before: f"pow({b}, {before}, {m})",
        (("pow(", "power("), ("pow(", "mod(")),
        (("pow(", "max("),),
    ),
    Link(
        _between(((2, 9), (0, 0)), ((2, 9), (0, 0)), ((3, 19), (0, 0)), ((11, 49), (0, 0))),
        lambda b, _, before: f"the sum of the digits of ${b}^{{{before}}}$",
        lambda b, _, before: _digit_sum(b**before),
        lambda b, _, before: f"sum(int(d) for d in str({b}**{before}))",
        (("int(d)", "d"), ("sum(int(", "add(int(")),
        (("**", "*"),),
    ),
)
COUNTING = (
    Link(
        _between(((20, 60), (4, 9)), ((40, 99), (6, 12)), ((100, 400), (11, 29)), ((300, 999), (31, 79))),
        lambda n, d, before: f"the number of multiples of ${d}$ from $1$ to ${n}$",
        lambda n, d, before: n // d,
        lambda n, d, before: f"sum(1 for k in range(1, {n} + 1) if k % {d} == 0)",
        (("== 0", "= 0"), ("range(", "")),
        (("== 0", "!= 0"),),
    ),
    Link(
        _between(((3, 9), (2, 2)), ((3, 12), (2, 3)), ((3, 15), (2, 3)), ((5, 20), (2, 3))),
        lambda g, k, before: f"the number of ways to pick ${k}$ of ${before}$ boys and ${g}$ girls",
        lambda g, k, before: (
            (before + g) * (before + g - 1) * (1 if k == 2 else before + g - 2) // (2 if k == 2 else 6)
        ),
        lambda g, k, before: f"comb({before} + {g}, {k})",
        (("comb(", "choose("),),
        ((" + ", " * "),),
        head="from math import comb\n",
    ),
    Link(
        _between(((3, 9), (0, 0)), ((3, 9), (0, 0)), ((6, 19), (0, 0)), ((11, 49), (0, 0))),
        lambda d, _, before: f"the number of integers up to ${before}$ not divisible by ${d}$",
        lambda d, _, before: before - before // d,
        # no loop up to what a blunder may have made astronomic
        lambda d, _, before: f"{before} - {before}//{d}",
        (("//", "/ /"), ("print(", "prints(")),
        (("//", "%"),),
    ),
)
PREALGEBRA = (
    Link(
        _between(((3, 9), (2, 9)), ((6, 15), (4, 12)), ((11, 39), (6, 19)), ((21, 99), (11, 29))),
        lambda p, q, before: rf"${p} \cdot {q}$",
        lambda p, q, before: sum(p for _ in range(q)),
        lambda p, q, before: f"{p}*{q}",
        (("*", "x"), ("*", " times ")),
        (("*", "+"),),
    ),
    Link(
        _between(((2, 5), (2, 20)), ((3, 9), (11, 60)), ((7, 29), (21, 199)), ((12, 69), (101, 999))),
        lambda p, q, before: rf"${p} \cdot {before} + {q}$",
        lambda p, q, before: sum(p for _ in range(before)) + q,
        lambda p, q, before: f"{p}*{before} + {q}",
        (("*", "x"), ("*", "")),
        ((" + ", " - "),),
    ),
    Link(
        _between(((3, 9), (1, 9)), ((4, 12), (5, 50)), ((7, 29), (11, 99)), ((12, 59), (101, 999))),
        lambda m, q, before: f"the remainder of ${before} + {q}$ divided by ${m}$",
        lambda m, q, before: before + q - m * int((before + q) / m),
        lambda m, q, before: f"({before} + {q}) % {m}",
        (("%", "mod"), (")", "")),
        (("%", "//"),),
    ),
)
ALGEBRA = (
    Link(
        _between(((2, 5), (2, 6)), ((2, 9), (3, 9)), ((3, 15), (5, 12)), ((5, 29), (7, 19))),
        lambda p, x, before: f"the value of ${p}x - 1$ at $x = {x}$",
        lambda p, x, before: sum(p for _ in range(x)) - 1,
        lambda p, x, before: f"{p}*{x} - 1",
        (("*", "x"), ("print(", "prints(")),
        ((" - ", " + "),),
    ),
    Link(
        _between(((1, 5), (1, 9)), ((2, 9), (5, 30)), ((3, 19), (11, 60)), ((5, 39), (21, 199))),
        lambda p, q, before: f"the value of $x^{{2}} - {p}x + {q}$ at $x = {before}$",
        lambda p, q, before: (
            sum(before for _ in range(before - p)) + q
            if before > p
            else q - sum(before for _ in range(p - before))
        ),
        lambda p, q, before: f"{before}**2 - {p}*{before} + {q}",
        (("*", ""), ("**2 - ", "^2 - x*")),
        (("**2", "^2"),),
    ),
    Link(
        _between(((2, 5), (1, 9)), ((2, 9), (5, 40)), ((3, 29), (11, 99)), ((5, 59), (21, 299))),
        lambda p, q, before: f"the solution of $x - {q} = {p} \\cdot {before}$",
        lambda p, q, before: (1 if before > 0 else -1) * sum(p for _ in range(abs(before))) + q,
        lambda p, q, before: f"{p}*{before} + {q}",
        (("*", "x"), ("*", "")),
        ((" + ", " - "),),
    ),
)
INTERMEDIATE_ALGEBRA = (
    Link(
        _between(((4, 7), (1, 5)), ((5, 9), (2, 9)), ((7, 11), (3, 15)), ((9, 13), (5, 25))),
        lambda b, c, before: f"the sum of the squares of the roots of $x^{{2}} - {b}x + {c}$",
        lambda b, c, before: (b * b - 4 * c + b * b) // 2,
        lambda b, c, before: f"{b}**2 - 2*{c}",
        (("2*", "2x"), ("**", "^^")),
        (("2*", "4*"),),
    ),
    Link(
        _between(((1, 3), (0, 0)), ((1, 5), (0, 0)), ((2, 9), (0, 0)), ((3, 19), (0, 0))),
        lambda low, _, before: f"the sum of $k^{{2}}$ for $k$ from ${low}$ to ${before}$",
        lambda low, _, before: (
            (before * (before + 1) * (2 * before + 1) - (low - 1) * low * (2 * low - 1)) // 6
        ),
        lambda low, _, before: f"sum(k**2 for k in range({low}, {before} + 1))",
        (("range(", ""), ("k**2", "k2")),
        ((" + 1)", ")"), ("k**2", "k^2")),
    ),
    Link(
        _between(((2, 5), (2, 3)), ((3, 9), (2, 4)), ((5, 29), (3, 6)), ((11, 60), (3, 9))),
        lambda p, q, before: f"$a_{{3}}$ if $a_{{1}} = {before}$ and $a_{{n+1}} = {q}a_{{n}} - {p}$",
        lambda p, q, before: q * q * before - q * p - p,
        lambda p, q, before: f"{q}*({q}*{before} - {p}) - {p}",
        (("print(", "prints("), (") - ", " - ")),
        (("*(", "+("),),
    ),
)


def chain(name: str, subject: str, links: Sequence[Link]) -> Template:
    """The template of chains of two (levels 1 and 2) or three of ``links``."""

    def draw(rng: Random, level: int) -> Params:
        count = 2 if level < 3 else 3
        return tuple(number for link in links[:count] for number in link.draw(rng, level))

    def write(params: Params) -> Exercise:
        used = list(zip(links, params[::2], params[1::2], strict=False))
        said, values, programs, lines = [], [0], [], []
        for place, (link, first, second) in enumerate(used):
            before = LETTERS[place - 1] if place else ""
            said.append(link.say(first, second, before))
            values.append(link.value(first, second, values[-1]))
            code = link.code(first, second, before)
            given = f"{before} = {LAST}\n" if place else ""
            programs.append(
                Program(code=f"{link.head}{given}print({code})", errors=link.errors, blunders=link.blunders)
            )
            lines.append(f"{LETTERS[place]} = {code}\n" if link is not used[-1][0] else f"print({code})")
        asked = said.pop()
        known = list(zip(LETTERS, said, strict=False))
        let = " and ".join(f"${letter}$ be {what}" for letter, what in known)
        where = " and ".join(f"${letter}$ is {what}" for letter, what in known)
        by_hand = zip(known, values[1:], strict=False)
        hand = " and ".join(f"${letter} = {value}$" for (letter, _), value in by_hand)
        return Exercise(
            wordings=(f"Let {let}. Find {asked}.", f"What is {asked} if {where}?"),
            answer=str(values[-1]),
            steps=f"Here {hand}.",
            code="".join(link.head for link, _, _ in used) + "".join(lines),
            errors=programs[-1].errors,
            blunders=programs[-1].blunders,
            links=tuple(programs),
        )

    return Template(name, subject, draw, write)


CHAINS: dict[str, tuple[str, tuple[Link, ...]]] = {
    "number_chain": ("Number Theory", NUMBER_THEORY),
    "power_chain": ("Number Theory", (PREALGEBRA[0], *NUMBER_THEORY[1:])),
    "counting_chain": ("Counting & Probability", COUNTING),
    "divisor_chain": ("Counting & Probability", (NUMBER_THEORY[0], *COUNTING[1:])),
    "arithmetic_chain": ("Prealgebra", PREALGEBRA),
    "remainder_chain": ("Prealgebra", (COUNTING[0], *PREALGEBRA[1:])),
    "value_chain": ("Algebra", ALGEBRA),
    "equation_chain": ("Algebra", (NUMBER_THEORY[0], *ALGEBRA[1:])),
    "root_chain": ("Intermediate Algebra", INTERMEDIATE_ALGEBRA),
    "recurrence_chain": ("Intermediate Algebra", (*INTERMEDIATE_ALGEBRA[::2], PREALGEBRA[2])),
}
TEMPLATES = tuple(chain(name, subject, links) for name, (subject, links) in CHAINS.items())
