"""Algebra: the mini family's templates in several phrasings."""

from __future__ import annotations

from src.problems.mini import algebra as mini
from src.problems.mini.notation import latex_polynomial
from src.problems.mini.template import Params
from src.problems.worded.phrasing import Phrasings, Told, rephrase

SYSTEM = Phrasings(
    trained=(
        "The numbers $x$ and $y$ satisfy both ${first}$ and ${second}$. Determine ${asked}$.",
        "Find the value of ${asked}$ given that ${first}$ and ${second}$.",
        "Two lines have the equations ${first}$ and ${second}$. What is the ${asked}$-coordinate of the "
        "point where they cross?",
        "A student wrote ${first}$ on one page and ${second}$ on the next. Which value must ${asked}$ have "
        "for both equations to hold?",
        "Consider the system ${first}$, ${second}$. Only ${asked}$ is needed; compute it.",
        "Which number is ${asked}$ if ${first}$ holds together with ${second}$?",
        "Although the system ${second}$, ${first}$ may look unfriendly, it has exactly one solution. State "
        "the value of ${asked}$ in it.",
    ),
    unseen=(
        "At the intersection of the lines ${first}$ and ${second}$, what is the value of ${asked}$?",
        "Eliminate one unknown from ${second}$ and ${first}$, and report ${asked}$.",
    ),
)
VALUE = Phrasings(
    trained=(
        "Evaluate ${poly}$ for $x = {x}$.",
        "A function is given by $f(x) = {poly}$. Which value does it take at $x = {x}$?",
        "If $x = {x}$, how much is ${poly}$?",
        "Substitute ${x}$ for $x$ in ${poly}$ and simplify.",
        "The graph of $y = {poly}$ passes through a point with $x$-coordinate ${x}$. What is the "
        "$y$-coordinate of this point?",
        "With $p(x) = {poly}$, determine $p({x})$.",
        "A teacher defines $g(x) = {poly}$ and asks about its zeros first, but we only want $g({x})$. What "
        "is it?",
    ),
    unseen=(
        "Plug $x = {x}$ into the polynomial ${poly}$; which number comes out?",
        "Give the $y$-value on the curve $y = {poly}$ that belongs to $x = {x}$.",
    ),
)
PRODUCT = Phrasings(
    trained=(
        "Multiply out ${text}$.",
        "Which polynomial in $x$ equals ${text}$?",
        "Remove the parentheses in ${text}$ and collect like terms.",
        "Find the expanded form of ${text}$.",
        "Express ${text}$ without parentheses, with the highest power of $x$ first.",
        "The sides of a rectangle are given by the two factors of ${text}$. Expand this expression for its "
        "area.",
        "Which polynomial do you get by carrying out the multiplication ${text}$?",
    ),
    unseen=(
        "Carry out the product ${text}$ and collect the powers of $x$.",
        "When all parentheses in ${text}$ are multiplied out, what polynomial is left?",
    ),
)


def _system(params: Params) -> Told:
    a, b, e, c, d, f, which = params
    return SYSTEM.fill(
        first=f"{a}x {'-' if b < 0 else '+'} {abs(b)}y = {e}",
        second=f"{c}x {'-' if d < 0 else '+'} {abs(d)}y = {f}",
        asked="xy"[which],
    )


def _value(params: Params) -> Told:
    return VALUE.fill(poly=latex_polynomial(params[1:]), x=params[0])


def _product(params: Params) -> Told:
    return PRODUCT.fill(text=f"({latex_polynomial(params[:2])})({latex_polynomial(params[2:])})")


TEMPLATES = rephrase(
    mini.TEMPLATES, {"linear_system": _system, "polynomial_value": _value, "expand_product": _product}
)
