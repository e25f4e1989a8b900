"""Number Theory: the mini family's templates in several phrasings."""

from __future__ import annotations

from src.problems.mini import number_theory as mini
from src.problems.mini.template import Params
from src.problems.worded.phrasing import Phrasings, Told, rephrase

POWER = Phrasings(
    trained=(
        "What remainder does ${power}$ leave on division by ${m}$?",
        "Divide ${power}$ by ${m}$. Which remainder is left over?",
        "Compute ${power}$ modulo ${m}$.",
        "Find the smallest nonnegative integer that is congruent to ${power}$ modulo ${m}$.",
        "If ${power}$ marbles are packed into boxes of ${m}$ until too few are left to fill a box, how many "
        "are left?",
        "Without writing out all digits of ${power}$, determine its remainder on division by ${m}$.",
        "Let $N = {power}$. By how much does $N$ exceed the largest multiple of ${m}$ that is not greater "
        "than $N$?",
    ),
    unseen=(
        "What is left when ${m}$ is taken away from ${power}$ as often as possible without going below zero?",
        "A clock has ${m}$ hours, numbered from $0$. It starts at $0$ and runs for ${power}$ hours. Which "
        "number does it show then?",
    ),
)
DIVISOR = Phrasings(
    trained=(
        "Determine the greatest common divisor of {listed}.",
        "Which number is the greatest common divisor of {listed}?",
        "What is the largest integer that divides each of {listed}?",
        "Given the numbers {listed}, compute their greatest common divisor.",
        "Ribbons of {listed} centimeters are cut without waste into pieces of one equal length, a whole "
        "number of centimeters. How many centimeters long can the pieces be at most?",
        "Among all positive integers that divide each of {listed}, find the largest.",
        "A friend will need a common multiple later; for now, give the greatest common divisor of {listed}.",
    ),
    unseen=(
        "Each of {listed} is a multiple of some integer. How large can this integer be at most?",
        "Name the biggest whole number by which each of {listed} can be divided without remainder.",
    ),
)
MULTIPLE = Phrasings(
    trained=(
        "Determine the least common multiple of {listed}.",
        "Which number is the least common multiple of {listed}?",
        "What is the smallest positive integer that is divisible by each of {listed}?",
        "Given the numbers {listed}, compute their least common multiple.",
        "Some lights blink every {listed} seconds, respectively, and they have just blinked together. In "
        "how many seconds will they next blink together?",
        "Among all positive integers that are divisible by each of {listed}, find the smallest.",
        "A friend will need a common divisor later; for now, give the least common multiple of {listed}.",
    ),
    unseen=(
        "Each of {listed} divides a certain positive integer. How small can this integer be?",
        "Name the smallest positive whole number that appears in the times table of each of {listed}.",
    ),
)
DIVISOR_COUNT = Phrasings(
    trained=(
        "Determine the number of positive divisors of ${n}$.",
        "By how many different positive integers is ${n}$ divisible?",
        "In how many ways can ${n}$ be written as a product $a \\cdot b$ of two positive integers, if the "
        "order of the factors matters?",
        "Exactly ${n}$ square tiles are laid out as a full rectangle. How many choices are there for the "
        "number of rows?",
        "The positive divisors of ${n}$, including $1$ and ${n}$ itself, are listed. How long is the list?",
        "For how many positive integers $d$ is ${n}/d$ an integer?",
        "Everyone knows that $1$ divides ${n}$. How many positive divisors does ${n}$ have altogether?",
    ),
    unseen=(
        "How many elements does the set of all positive divisors of ${n}$ have?",
        "A teacher shares ${n}$ pencils equally among one or more children, with none left over. How many "
        "different numbers of children are possible?",
    ),
)
DIVISOR_SUM = Phrasings(
    trained=(
        "Determine the sum of all positive divisors of ${n}$.",
        "Add up all positive integers that divide ${n}$. What is the total?",
        "Compute $\\sigma({n})$, the sum of the positive divisors of ${n}$.",
        "List the positive divisors of ${n}$, including $1$ and ${n}$ itself, and find their sum.",
        "What total do the positive divisors of ${n}$ have?",
        "If every positive divisor of ${n}$ is written on its own card, what is the sum of the numbers on "
        "all cards?",
        "How many positive divisors ${n}$ has is not the question here. What is their sum?",
    ),
    unseen=(
        "Let $S$ be the set of all positive divisors of ${n}$. What do the elements of $S$ add up to?",
        "A child gets $d$ coins for every positive divisor $d$ of ${n}$. How many coins is that in all?",
    ),
)
DIGITS = Phrasings(
    trained=(
        "Add the digits of ${power}$.",
        "What do the decimal digits of ${power}$ add up to?",
        "Write ${power}$ in decimal notation. What is the sum of its digits?",
        "Compute the sum of all digits in the decimal notation of ${power}$.",
        "Let $N = {power}$. Determine the sum of the digits of $N$.",
        "Every digit of ${power}$ is written on a separate card. What is the sum of the numbers on the "
        "cards?",
        "A calculator with a wide display shows all digits of ${power}$. Add the digits; what is the result?",
    ),
    unseen=(
        "If you write out ${power}$ in full, which number is the total of its digits?",
        "Take the number ${power}$, split it into its single digits, and find their total.",
    ),
)


def _power(params: Params) -> Told:
    a, n, m = params
    return POWER.fill(power=f"{a}^{{{n}}}", m=m)


def _common(params: Params) -> Told:
    kind, *numbers = params
    listed = ", ".join(f"${number}$" for number in numbers[:-1]) + f" and ${numbers[-1]}$"
    return (DIVISOR, MULTIPLE)[kind].fill(listed=listed)


def _divisors(params: Params) -> Told:
    kind, n = params
    return (DIVISOR_COUNT, DIVISOR_SUM)[kind].fill(n=n)


def _digits(params: Params) -> Told:
    a, n = params
    return DIGITS.fill(power=f"{a}^{{{n}}}")


TEMPLATES = rephrase(
    mini.TEMPLATES,
    {"modular_power": _power, "gcd_lcm": _common, "divisors": _divisors, "digit_sum": _digits},
)
