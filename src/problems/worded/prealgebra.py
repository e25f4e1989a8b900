"""Prealgebra: the mini family's templates in several phrasings."""

from __future__ import annotations

from src.problems.mini import prealgebra as mini
from src.problems.mini.template import Params
from src.problems.worded.phrasing import Phrasings, Told, rephrase

ARITHMETIC = Phrasings(
    trained=(
        "Calculate ${expr}$.",
        "Find the value of ${expr}$.",
        "How much is ${expr}$?",
        "Work out ${expr}$, multiplying before you add or subtract.",
        "Evaluate the expression ${expr}$.",
        "A cashier has to work out ${expr}$ before the shop closes. What is the result?",
        "Simplify ${expr}$ to a single integer.",
    ),
    unseen=("Which integer equals ${expr}$?", "If $N = {expr}$, then what is $N$?"),
)
FRACTIONS = Phrasings(
    trained=(
        "Calculate ${text}$ and give the answer in lowest terms.",
        "Simplify ${text}$.",
        "Find the exact value of ${text}$.",
        "Evaluate ${text}$. Do not round.",
        "Bring the fractions in ${text}$ to a common denominator and combine them. What is the result in "
        "lowest terms?",
        "How much is ${text}$, exactly?",
        "A calculator may show a rounded decimal for ${text}$. Give the exact value instead.",
    ),
    unseen=(
        "Combine ${text}$ into a single number in lowest terms.",
        "Let $q = {text}$. Express $q$ exactly, without decimals.",
    ),
)
MEAN = Phrasings(
    trained=(
        "Compute the arithmetic mean of {listed}.",
        "In a class, the test scores were {listed}. What was the average score?",
        "On successive days, a bakery sold {listed} loaves. How many loaves is that per day on average? "
        "Give an exact value.",
        "What is the exact mean of the numbers {listed}?",
        "Determine the average of the following numbers: {listed}.",
        "The numbers {listed} are given. Which of them is largest does not matter; find their mean.",
        "Add {listed}, then divide by how many numbers there are. What do you get?",
    ),
    unseen=(
        "What single number could replace each of {listed} without changing their total?",
        "Give the exact average of the measurements {listed}.",
    ),
)


def _arithmetic(params: Params) -> Told:
    a, b, c, *rest = params
    other = f"{abs(c)}" + (rf" \cdot {rest[0]}" if rest else "")
    return ARITHMETIC.fill(expr=rf"{a} \cdot {b} {'-' if c < 0 else '+'} {other}")


def _fractions(params: Params) -> Told:
    text = ""
    for above, below in zip(params[::2], params[1::2], strict=True):
        sign = (" - " if above < 0 else " + ") if text else ""
        text += rf"{sign}\frac{{{abs(above)}}}{{{below}}}"
    return FRACTIONS.fill(text=text)


def _mean(params: Params) -> Told:
    return MEAN.fill(listed=", ".join(f"${value}$" for value in params[:-1]) + f" and ${params[-1]}$")


TEMPLATES = rephrase(mini.TEMPLATES, {"arithmetic": _arithmetic, "fraction_sum": _fractions, "mean": _mean})
