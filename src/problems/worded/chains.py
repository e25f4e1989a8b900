"""Chains: the mini family's, with every quantity and every frame in several phrasings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from src.problems.mini import chains as mini
from src.problems.mini.chains import Link
from src.problems.mini.notation import latex_polynomial
from src.problems.mini.template import Params
from src.problems.worded.phrasing import Phrasings, Told, rephrased

# Each quantity in three ways, the last of which is never trained on. Slots: its numbers p and q, px for p
# times x, and the name of the quantity before it.
SAID: dict[Link, tuple[str, str, str]] = {
    mini.NUMBER_THEORY[0]: (
        "the number of positive divisors of ${p}$",
        "the number of positive integers that divide ${p}$",
        "the size of the set of all positive divisors of ${p}$",
    ),
    mini.NUMBER_THEORY[1]: (
        "the remainder when ${p}^{{{before}}}$ is divided by ${q}$",
        "the remainder that ${p}^{{{before}}}$ leaves on division by ${q}$",
        "the smallest nonnegative integer congruent to ${p}^{{{before}}}$ modulo ${q}$",
    ),
    mini.NUMBER_THEORY[2]: (
        "the sum of the digits of ${p}^{{{before}}}$",
        "the digit sum of ${p}^{{{before}}}$",
        "the total of all decimal digits of ${p}^{{{before}}}$",
    ),
    mini.COUNTING[0]: (
        "the number of multiples of ${q}$ from $1$ to ${p}$",
        "the number of integers from $1$ to ${p}$ that are divisible by ${q}$",
        "the number of positive integers up to ${p}$ that are multiples of ${q}$",
    ),
    mini.COUNTING[1]: (
        "the number of ways to choose ${q}$ children from a group of ${before}$ boys and ${p}$ girls",
        "the number of groups of ${q}$ children that can be formed from ${before}$ boys and ${p}$ girls",
        "the number of sets of ${q}$ children out of a class of ${before}$ boys and ${p}$ girls",
    ),
    mini.COUNTING[2]: (
        "the number of positive integers up to ${before}$ that are not divisible by ${p}$",
        "the number of integers from $1$ to ${before}$ that are not multiples of ${p}$",
        "the number of positive integers not above ${before}$ that ${p}$ does not divide",
    ),
    mini.PREALGEBRA[0]: (
        "${p} \\cdot {q}$",
        "the product of ${p}$ and ${q}$",
        "the result of multiplying ${p}$ by ${q}$",
    ),
    mini.PREALGEBRA[1]: (
        "${p} \\cdot {before} + {q}$",
        "the number that is ${q}$ more than ${p}$ times ${before}$",
        "the sum of ${q}$ and the product ${p} \\cdot {before}$",
    ),
    mini.PREALGEBRA[2]: (
        "the remainder when ${before} + {q}$ is divided by ${p}$",
        "the remainder that ${before} + {q}$ leaves on division by ${p}$",
        "the smallest nonnegative integer congruent to ${before} + {q}$ modulo ${p}$",
    ),
    mini.ALGEBRA[0]: (
        "the value of ${p}x - 1$ at $x = {q}$",
        "the value that ${p}x - 1$ takes for $x = {q}$",
        "the result of putting $x = {q}$ into ${p}x - 1$",
    ),
    mini.ALGEBRA[1]: (
        "the value of $x^{{2}} - {px} + {q}$ at $x = {before}$",
        "the value that $x^{{2}} - {px} + {q}$ takes for $x = {before}$",
        "the result of putting $x = {before}$ into $x^{{2}} - {px} + {q}$",
    ),
    mini.ALGEBRA[2]: (
        "the solution $x$ of $x - {q} = {p} \\cdot {before}$",
        "the number $x$ for which $x - {q} = {p} \\cdot {before}$",
        "the value of $x$ that satisfies $x - {q} = {p} \\cdot {before}$",
    ),
    mini.INTERMEDIATE_ALGEBRA[0]: (
        "the number $r^{{2}} + s^{{2}}$ for $r$ and $s$ with $x^{{2}} - {px} + {q} = (x - r)(x - s)$",
        "the sum of the squares of the roots, counted with multiplicity, of $x^{{2}} - {px} + {q}$",
        "the number $r^{{2}} + s^{{2}}$ such that $x^{{2}} - {px} + {q}$ factors as $(x - r)(x - s)$",
    ),
    mini.INTERMEDIATE_ALGEBRA[1]: (
        "the sum of $k^{{2}}$ for all integers $k$ from ${p}$ to ${before}$",
        "the sum $\\sum_{{k={p}}}^{{{before}}} k^{{2}}$",
        "the total of the squares of all integers from ${p}$ up to ${before}$",
    ),
    mini.INTERMEDIATE_ALGEBRA[2]: (
        "the term $u_{{3}}$ of the sequence with $u_{{1}} = {before}$ and $u_{{n+1}} = {q}u_{{n}} - {p}$",
        "the third term of the sequence that begins with $u_{{1}} = {before}$ and follows the rule "
        "$u_{{n+1}} = {q}u_{{n}} - {p}$",
        "the number $u_{{3}}$ in a sequence that starts with $u_{{1}} = {before}$ and in which $u_{{n+1}}$ "
        "is always ${q}u_{{n}} - {p}$",
    ),
}
FRAMES = Phrasings(
    trained=(
        "Let {let}. Find {asked}.",
        "What is {asked} if {are}?",
        "Suppose that {other_are}. Determine {other_asked}.",
        "Find {other_asked}, where {other_are}.",
        "In this problem, {are}. Your task is to compute {other_asked}.",
        "First work with these definitions: {other_are}. Then give {asked}.",
        "A puzzle is solved in steps. Its first part says that {are}. Its last part asks for {other_asked}. "
        "What is the answer to the last part?",
        "Anna's homework has several parts, and only the last one counts. It asks for {asked}, where "
        "{other_are}. Which number should she write down?",
    ),
    unseen=(
        "Given that {third_are}, calculate {third_asked}.",
        "We are looking for {third_asked}. Here, {third_are}. State the number.",
    ),
)


def _tell(links: Sequence[Link]) -> Callable[[Params], Told]:
    def tell(params: Params) -> Told:
        slots = {}
        for variant, prefix in enumerate(("", "other_", "third_")):
            said = [
                SAID[link][variant].format(
                    p=p, q=q, px=latex_polynomial((p, 0)), before=mini.LETTERS[place - 1] if place else ""
                )
                for place, (link, p, q) in enumerate(zip(links, params[::2], params[1::2], strict=False))
            ]
            known = list(zip(mini.LETTERS, said[:-1], strict=False))
            slots[f"{prefix}let"] = ", and ".join(f"${letter}$ be {what}" for letter, what in known)
            slots[f"{prefix}are"] = ", and ".join(f"${letter}$ is {what}" for letter, what in known)
            slots[f"{prefix}asked"] = said[-1]
        return FRAMES.fill(**slots)

    return tell


TEMPLATES = tuple(
    rephrased(template, _tell(links), keep=0)
    for template in mini.TEMPLATES
    for links in [mini.CHAINS[template.name][1]]
)
