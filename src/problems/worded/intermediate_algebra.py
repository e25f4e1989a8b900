"""Intermediate Algebra: the mini family's templates in several phrasings."""

from __future__ import annotations

from src.problems.mini import intermediate_algebra as mini
from src.problems.mini.notation import latex_polynomial
from src.problems.mini.template import Params
from src.problems.worded.phrasing import Phrasings, Told, rephrase

ROOT = Phrasings(
    trained=(
        "Solve ${poly} = 0$ and give the {size} solution in exact form.",
        "The equation ${poly} = 0$ has two real solutions. Which is the {size} one?",
        "Determine exactly the {size} zero of $f(x) = {poly}$.",
        "The parabola $y = {poly}$ meets the $x$-axis twice. Find the exact $x$-coordinate of the meeting "
        "point farther to the {side}.",
        "Let $r$ be the {size} root of ${poly}$. Express $r$ with a square root in simplest form.",
        "Decimals are not wanted here: what is the exact value of the {size} root of ${poly}$?",
        "A number $x$ satisfies ${poly} = 0$, and it is the {size} of the two numbers that do. What is $x$?",
    ),
    unseen=(
        "Of the two real numbers at which ${poly}$ vanishes, state the {size} one exactly.",
        "Use the quadratic formula on ${poly} = 0$; what is the {size} result in simplest form?",
    ),
)
ROOTS = Phrasings(
    trained=(
        "Let $r$ and $s$ be the roots of ${poly}$. Compute $r^{{2}} + s^{{2}}$.",
        "If $r$ and $s$ are the two solutions of ${poly} = 0$, what is $r^{{2}} + s^{{2}}$?",
        "Square each of the two roots of ${poly}$, real or complex, and add the squares. What is the result?",
        "Without solving ${poly} = 0$, find the sum of the squares of its two solutions.",
        "The polynomial ${poly}$ has the zeros $p$ and $q$. Determine $p^{{2}} + q^{{2}}$.",
        "Find $u^{{2}} + v^{{2}}$, where $u$ and $v$ denote the roots of ${poly}$.",
        "A student knows the sum and the product of the roots of ${poly}$. What should the student get for "
        "the sum of the squares of the roots?",
    ),
    unseen=(
        "Which number is the sum of the squares of the two solutions of ${poly} = 0$?",
        "Suppose ${poly}$ vanishes exactly at $x = \\alpha$ and $x = \\beta$. What is $\\alpha^{{2}} + "
        "\\beta^{{2}}$?",
    ),
)
RECURRENCE = Phrasings(
    trained=(
        "Starting from $a_{{1}} = {first}$, each further term is given by ${step}$. Compute ${last}$.",
        "The sequence $a_{{1}}, a_{{2}}, \\ldots$ satisfies $a_{{1}} = {first}$ and ${step}$ for $n \\ge "
        "1$. Determine ${last}$.",
        "If ${step}$ for all positive integers $n$ and $a_{{1}} = {first}$, what is ${last}$?",
        "A sequence follows the rule ${step}$. Its first term is $a_{{1}} = {first}$. Which number is "
        "${last}$?",
        "Find ${last}$ in the sequence with the first term $a_{{1}} = {first}$ and the rule ${step}$.",
        "Someone applies the rule ${step}$ again and again, beginning with $a_{{1}} = {first}$. What value "
        "does ${last}$ have?",
        "Given are $a_{{1}} = {first}$ and the recursion ${step}$. A closed formula is not required; just "
        "give ${last}$.",
    ),
    unseen=(
        "What does ${last}$ equal when $a_{{1}} = {first}$ and every later term comes from ${step}$?",
        "Begin with $a_{{1}} = {first}$ and use ${step}$ until you reach ${last}$. State ${last}$.",
    ),
)
POWER_SUM = Phrasings(
    trained=(
        "Evaluate ${sum}$.",
        "What is the value of ${sum}$?",
        "Add the values of ${term}$ for all integers $k$ with ${low} \\le k \\le {high}$.",
        "For every integer $k$ from ${low}$ to ${high}$, the number ${term}$ is written down. What is the "
        "sum of these numbers?",
        "Let $k$ run through the integers from ${low}$ to ${high}$. Determine the total of all values of "
        "${term}$.",
        "If the terms ${term}$ for $k = {low}, \\ldots, {high}$ are added up, what is the result?",
    ),
    unseen=(
        "What do the values of ${term}$ sum to as $k$ goes from ${low}$ up to ${high}$, both included?",
        "Sum ${term}$ over all whole numbers $k$ that are at least ${low}$ and at most ${high}$.",
    ),
)


def _root(params: Params) -> Told:
    a, b, c, sign = params
    size, side = ("larger", "right") if sign > 0 else ("smaller", "left")
    return ROOT.fill(poly=latex_polynomial((a, b, c)), size=size, side=side)


def _roots(params: Params) -> Told:
    return ROOTS.fill(poly=latex_polynomial(params))


def _recurrence(params: Params) -> Told:
    first, factor, shift, n = params
    step = f"a_{{n+1}} = {latex_polynomial((factor, shift), 'a_{n}')}"
    return RECURRENCE.fill(first=first, step=step, last=f"a_{{{n}}}")


def _power_sum(params: Params) -> Told:
    low, high, *coefficients = params
    term = latex_polynomial(coefficients, "k")
    term = f"({term})" if sum(c != 0 for c in coefficients) > 1 else term
    whole = rf"\sum_{{k={low}}}^{{{high}}} {term}"
    return POWER_SUM.fill(low=low, high=high, term=term, sum=whole)


TEMPLATES = rephrase(
    mini.TEMPLATES,
    {"quadratic_root": _root, "root_squares": _roots, "recurrence": _recurrence, "power_sum": _power_sum},
)
