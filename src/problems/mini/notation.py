"""Numbers, polynomials and equations as LaTeX and as Python source, in plain integer arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import lcm
from random import Random

FRACTION = "from fractions import Fraction\n"  # the head of programs


def signed(rng: Random, low: int, high: int) -> int:
    """A random integer with absolute value in ``[low, high]`` and a random sign."""
    return rng.choice((-1, 1)) * rng.randint(low, high)


def latex_ratio(numerator: int, denominator: int) -> str:
    """``numerator / denominator`` in lowest terms; an integer stays one."""
    value = Fraction(numerator, denominator)
    if value.denominator == 1:
        return str(value.numerator)
    sign = "-" if value < 0 else ""
    return rf"{sign}\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"


def _join(terms: Sequence[tuple[int, str]], times: str) -> str:
    """The sum of ``coefficient`` times ``monomial``, with ``times`` between the two."""
    out = ""
    for coefficient, monomial in terms:
        if coefficient == 0:
            continue
        size = abs(coefficient)
        body = str(size) if not monomial else monomial if size == 1 else f"{size}{times}{monomial}"
        if out:
            out += f" {'-' if coefficient < 0 else '+'} {body}"
        else:
            out = f"{'-' if coefficient < 0 else ''}{body}"
    return out or "0"


def _monomial(letter: str, degree: int, power: str) -> str:
    return "" if degree == 0 else letter if degree == 1 else power.format(letter, degree)


def latex_polynomial(coefficients: Sequence[int], letter: str = "x", times: str = "") -> str:
    """A polynomial, highest degree first: ``(3, -7, 2)`` gives ``3x^{2} - 7x + 2``."""
    top = len(coefficients) - 1
    terms = [(c, _monomial(letter, top - i, "{}^{{{}}}")) for i, c in enumerate(coefficients)]
    return _join(terms, times)


def python_polynomial(coefficients: Sequence[int], letter: str = "x") -> str:
    """The same as Python source: ``(3, -7, 2)`` gives ``3*x**2 - 7*x + 2``."""
    top = len(coefficients) - 1
    terms = [(c, _monomial(letter, top - i, "{}**{}")) for i, c in enumerate(coefficients)]
    return _join(terms, "*")


def latex_terms(values: Sequence[int]) -> str:
    """A sum of integers as written by hand: ``(432, -84, 2)`` gives ``432 - 84 + 2``."""
    return _join([(value, "") for value in values], "")


def square_part(n: int) -> tuple[int, int]:
    """Return ``(k, d)`` with ``n = k * k * d`` and ``d`` free of squares, for ``n > 0``."""
    k, d, p = 1, n, 2
    while p * p <= d:
        while d % (p * p) == 0:
            d //= p * p
            k *= p
        p += 1
    return k, d


def latex_surd(whole: int, radicand: int, divisor: int, sign: int) -> str:
    """``(whole + sign * sqrt(radicand)) / divisor`` simplified, for ``divisor > 0``."""
    k, d = square_part(radicand)
    root = rf"\sqrt{{{d}}}"
    first, second = Fraction(whole, divisor), Fraction(sign * k, divisor)
    common = lcm(first.denominator, second.denominator)
    top = _join([(int(first * common), ""), (int(second * common), root)], " ")
    return top if common == 1 else rf"\frac{{{top}}}{{{common}}}"
