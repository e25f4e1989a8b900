"""Compares the solutions of equations and inequalities exactly, where possible.

Equations: as zeros of polynomials over the complex numbers, without solving. Inequalities: as real sets, or
by the difference of their sides.
"""

from __future__ import annotations

from typing import Any

from sympy import E, Eq, Expr, FiniteSet, Ne, Poly, PolynomialError, S, Symbol, prod
from sympy.core.function import AppliedUndef
from sympy.core.relational import GreaterThan, LessThan, StrictGreaterThan, StrictLessThan
from sympy.polys.polyerrors import BasePolynomialError
from sympy.polys.polytools import parallel_poly_from_expr

from src.rewards.values import items, same_number


def same_zeros(gold: Any, answer: Any) -> bool | None:
    """Whether the complex solutions are the same; None if unknown, or if all or no numbers are solutions.

    ``gold`` is an equation (or its negation), ``answer`` another one or a set of solutions.
    """
    left, right = _vanishing(gold, answer), _vanishing(answer, gold)
    if left is None or right is None:
        return None
    if not left.free_symbols and not right.free_symbols:  # e can be an eccentricity
        left, right = left.subs(E, Symbol("e")), right.subs(E, Symbol("e"))
    try:
        (over, below), (other_over, other_below) = left.as_numer_denom(), right.as_numer_denom()
        over, below, other_over, other_below = _polynomials(over, below, other_over, other_below)
        if over.is_ground or other_over.is_ground:
            return None
        if below.is_ground and other_below.is_ground and _ratio(over, other_over) is not None:
            return True
        if over.domain.is_EX or not over.domain.is_Exact:
            return None
        zeros, other_zeros = _zeros(over, below), _zeros(other_over, other_below)
    except BasePolynomialError:
        return None
    if zeros.is_ground or other_zeros.is_ground:
        return None
    if zeros == other_zeros:
        return True
    return False if all(generator.is_Symbol for generator in over.gens) else None


def _zeros(over: Poly, below: Poly) -> Poly:
    """Return the monic polynomial that has each zero of over / below once, without the poles."""
    over = over.to_field().sqf_part()
    return over.quo(over.gcd(below.to_field())).monic()


def _vanishing(value: Any, other: Any) -> Any | None:
    """Return an expression whose zeros are the solutions of ``value``; None if there is none.

    Args:
        value: an equation; or a set of equations in one unknown, or of numbers.
        other: the other side of the comparison, which has the unknown that the numbers are values of.
    """
    if isinstance(value, (Eq, Ne)):
        return _difference(value)
    elements = items(value)
    unknowns = getattr(other, "free_symbols", set()) | value.free_symbols
    if not elements or not isinstance(value, FiniteSet) or len(unknowns) != 1:
        return None
    unknown = _plain(next(iter(unknowns)))
    factors = [
        _difference(item) if isinstance(item, Eq) else unknown - item
        for item in elements
        if isinstance(item, (Eq, Expr))
    ]
    if len(factors) < len(elements) or any(factor is None or not factor.free_symbols for factor in factors):
        return None
    return prod(factors)


def _difference(relation: Any) -> Any | None:
    """Return left minus right side in plain symbols; a product if the right side is a set of numbers."""
    left, right = _plain(relation.lhs), _plain(relation.rhs)
    values = right.args if isinstance(right, FiniteSet) else (right,)
    if not values or not all(isinstance(side, Expr) for side in (left, *values)):
        return None
    return prod([(left - value).doit() for value in values])


def _plain(value: Any) -> Any:
    """Return ``value`` with symbols without assumptions, also in place of unknown functions."""
    value = value.replace(lambda part: isinstance(part, AppliedUndef), lambda part: Symbol(str(part)))
    return value.xreplace({symbol: Symbol(symbol.name) for symbol in value.free_symbols})


def _polynomials(*expressions: Any) -> list[Poly]:
    """Return the expressions as polynomials in their non-numeric parts. Raises: BasePolynomialError."""
    _, options = parallel_poly_from_expr(expressions)
    generators = [generator for generator in options.gens if generator.free_symbols]
    if not generators:
        raise PolynomialError("no unknown")
    return list(parallel_poly_from_expr(expressions, *generators, extension=True)[0])


def _ratio(left: Poly, right: Poly) -> Any | None:
    """Return the non-zero number ``left`` / ``right``, or None if the ratio is not a number."""
    terms, other_terms = dict(left.terms()), dict(right.terms())
    if left.is_ground or terms.keys() != other_terms.keys():
        return None
    lead, other_lead = left.LC(), right.LC()
    if all(same_number(terms[power] * other_lead, other_terms[power] * lead) for power in terms):
        return lead / other_lead
    return None


def real_set(relation: Any) -> Any | None:
    """Return the real solutions of a relation in one unknown; None if they are unknown, none, or all."""
    relation = relation.replace(
        lambda part: isinstance(part, AppliedUndef), lambda part: Symbol(str(part), real=True)
    )
    if len(relation.free_symbols) != 1:
        return None
    try:
        solutions = relation.as_set()
    except Exception:  # sympy raises various exceptions if it cannot solve it
        return None
    return solutions if solutions.is_empty is False and solutions != S.Reals else None


def same_inequality(gold: Any, answer: Any) -> bool:
    """Whether one is the other times a positive number."""
    excesses = []
    for relation in (gold, answer):
        if isinstance(relation, (LessThan, StrictLessThan)):
            relation = relation.reversed
        if not isinstance(relation, (GreaterThan, StrictGreaterThan)):
            return False
        excesses.append((type(relation), _difference(relation)))
    (kind, left), (other_kind, right) = excesses
    if kind is not other_kind or left is None or right is None:
        return False
    try:
        ratio = _ratio(*_polynomials(left, right))
    except BasePolynomialError:
        return False
    return ratio is not None and bool(ratio.is_positive)
