"""Whether two sympy objects without relations are equal: numbers exactly, others by math-verify."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from math_verify import verify
from sympy import Expr, FiniteSet, Interval, Rational, Tuple, log

_DIGITS = 50  # precision of numeric comparisons
_EQUAL, _SMALLEST, _LARGEST = Rational(1, 10**40), Rational(1, 10**30), 10**1000


def same_value(gold: Any, answer: Any) -> bool:
    """Whether two numbers, expressions, sets, tuples or matrices are equal; decimals count as exact."""
    if isinstance(gold, Expr) and isinstance(answer, Expr):
        same = (
            same_number(gold, answer)
            if gold.is_number and answer.is_number
            else _same_expression(gold, answer)
        )
        if same is not None:
            return same
    return bool(verify(gold, answer, timeout_seconds=None))


def same_number(left: Expr, right: Expr) -> bool | None:
    """Compare to 40 decimals or, below 1, to 40 significant digits; None if that is inconclusive."""
    if left.is_Rational and right.is_Rational:
        return bool(left == right)
    sizes = abs(left.evalf()).evalf(), abs(right.evalf()).evalf()
    if sizes[0].is_infinite or sizes[1].is_infinite:  # division by zero has no sign, and equals nothing
        return bool(left == right and left.is_extended_real)
    if not (sizes[0].is_Number and sizes[1].is_Number):
        return None
    scale = max(sizes)
    if not _SMALLEST < scale < _LARGEST:
        return None
    digits = int(log(scale, 10)) + 3 * _DIGITS  # this many may cancel
    difference = abs((left - right).evalf(_DIGITS, maxn=digits)).evalf()
    return bool(difference <= min(scale, 1) * _EQUAL) if difference.is_Number else None


def _same_expression(left: Expr, right: Expr) -> bool | None:
    """Decide easy cases of expressions with variables without simplifying; None: undecided."""
    if (left - right).expand() == 0:
        return True
    if left.is_Symbol or right.is_Symbol:  # math-verify knows several spellings of one symbol
        return None
    symbols = sorted(left.free_symbols | right.free_symbols, key=str)
    point = {symbol: Rational(1009 + 26 * index, 1013) for index, symbol in enumerate(symbols)}
    values = left.subs(point).evalf(_DIGITS), right.subs(point).evalf(_DIGITS)
    if values[0].is_Float and values[1].is_Float and same_number(*values) is False:
        return False
    return None


def items(value: Any) -> Sequence[Any] | None:
    """Return the elements in their written order; an open interval may also be a pair."""
    if isinstance(value, FiniteSet):
        return list(getattr(value, "_unsorted_args", value.args))
    if isinstance(value, Tuple):
        return list(value.args)
    if isinstance(value, Interval) and value.left_open and value.right_open:
        return [value.start, value.end]
    return None


def evaluated(value: Any) -> Any:
    """Return the value as a rational number, or ``value`` itself if it is not rational."""
    if isinstance(value, Expr) and value.is_number:
        number = value.doit()
        return number if number.is_Rational else value
    return value
