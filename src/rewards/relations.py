r"""Whether two sympy objects that contain equations or inequalities are equal.

Two relations are equal only if their sides are the same, or their solutions are, as far as these can be found
exactly. Solutions of equations are compared as zeros of polynomials over the complex numbers, those of
inequalities in one unknown as real sets. For a relation that every value satisfies, or none, only the sides
are compared. math-verify instead solves both and treats two failures to solve as equal.

An equation is equivalent to its right-hand side (``x = 5`` to ``5``) if its left-hand side is a name.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from latex2sympy2_extended import is_expr_of_only_symbols
from latex2sympy2_extended.logic import And
from sympy import E, Eq, Expr, Ne, Rational, Set
from sympy.core.function import AppliedUndef
from sympy.core.relational import Relational
from sympy.sets.sets import FiniteSet

from src.rewards.shapes import matched
from src.rewards.solutions import real_set, same_inequality, same_zeros
from src.rewards.values import evaluated, items, same_value

_MOST_PLACES = 12  # decimal places of a rounded number


def same(gold: Any, answer: Any) -> bool:
    """Whether ``answer`` is correct for ``gold``: values, relations, or sets and tuples of them."""
    if not _has_relations(gold) and not _has_relations(answer):
        return same_value(gold, answer)
    relations = _is_relation(gold), _is_relation(answer)
    if all(relations):
        return _same_relation(gold, answer)
    if not any(relations):
        return _same_items(gold, answer)
    relation, other = (gold, answer) if relations[0] else (answer, gold)
    stated = _stated_value(relation, as_gold=relations[0])
    if stated is not None and (same(stated, other) if relations[0] else same(other, stated)):
        return True
    relation = _evaluated(relation)
    if isinstance(relation, Eq) and (zeros := same_zeros(relation, other)) is not None:
        return zeros
    if not isinstance(other, Set) or _has_relations(other):
        return False
    return _same_set(*((real_set(relation), other) if relations[0] else (other, real_set(relation))))


def _same_set(gold: Any | None, answer: Any | None) -> bool:
    return gold is not None and answer is not None and same_value(gold, answer)


def _evaluated(relation: Any) -> Any:
    if isinstance(relation, And):
        return And(*map(_evaluated, relation._unsorted_args))
    return relation.func(*map(evaluated, relation.args), evaluate=False)


def _is_relation(value: Any) -> bool:
    return isinstance(value, (Relational, And))


def _has_relations(value: Any) -> bool:
    return _is_relation(value) or any(map(_is_relation, items(value) or ()))


def _same_items(gold: Any, answer: Any) -> bool:
    """Compare sets and tuples: in order, if one of them is a tuple."""
    golds, answers = items(gold), items(answer)
    if golds is None or answers is None or len(golds) != len(answers):
        return False
    if isinstance(gold, FiniteSet) and isinstance(answer, FiniteSet):
        return matched(golds, answers, same)
    return all(map(same, golds, answers))


# What an equation states


def _members(relation: Any) -> list[Any] | None:
    """Return a, b, c of a = b = c; None if it is not an equation or a chain of equations."""
    links = _conjuncts(relation)
    if not all(isinstance(link, Eq) for link in links):
        return None
    if any(left.rhs != right.lhs for left, right in pairwise(links)):
        return None
    return [links[0].lhs, *(link.rhs for link in links)]


def _stated_value(relation: Any, *, as_gold: bool) -> Any | None:
    """Return the value that an equation states: 5 for x = 5, f(2) = 5, 5 = x, 2 + 3 = 5.

    Args:
        relation: a relation.
        as_gold: whether names may consist of symbols only, so that 2x + z = 1 does not state 1.
    """
    members = _members(relation)
    if members is None or all(member == members[0] for member in members):
        return None
    if len(members) == 2 and _is_name(members[1]) and not _names(members[0]):
        members.reverse()
    first, *middle, last = map(evaluated, members)
    numbers = [member for member in (first, *middle) if not _names(member)]
    if not all(same_value(number, last) or _rounded(number, last) for number in numbers):
        return None
    if not _names(first) or _is_name(first):
        return last
    # 2x + 1 = 7 and x - 1 = 0 are to be solved: they give no value.
    to_solve = not isinstance(first, Expr) or first.as_coeff_Add()[0] != 0 or last == 0
    return None if as_gold or to_solve else last


def _names(value: Any) -> bool:
    """Whether symbols or unknown functions are in ``value``; e alone can be an eccentricity."""
    return value == E or bool(value.free_symbols) or value.has(AppliedUndef)


def _is_name(value: Any) -> bool:
    return value == E or isinstance(value, AppliedUndef) or bool(is_expr_of_only_symbols(value))


def _rounded(number: Any, shown: Any) -> bool:
    """Whether ``shown`` is a decimal to which ``number`` is rounded: 14.29 for 100/7."""
    if not isinstance(number, Expr) or not isinstance(shown, Rational) or shown.is_Integer:
        return False
    for places in range(1, _MOST_PLACES):
        if 10**places % shown.q == 0:
            distance = abs(number - shown).evalf()
            return bool(distance.is_Number and distance <= Rational(1, 2 * 10**places))
    return False


# Two relations


def _conjuncts(relation: Any) -> list[Any]:
    if isinstance(relation, And):
        return [part for argument in relation._unsorted_args for part in _conjuncts(argument)]
    return [relation]


def _same_relation(gold: Any, answer: Any) -> bool:
    golds, answers = (_conjuncts(_evaluated(_shortened(relation))) for relation in (gold, answer))
    if len(golds) == len(answers) and matched(golds, answers, _same_single):
        return True
    if all(isinstance(part, Eq) for part in golds + answers):
        return False
    if _unknowns(gold) != _unknowns(answer):
        return False
    return _same_set(_solution_set(gold), _solution_set(answer))


def _unknowns(relation: Any) -> set[str]:
    return {symbol.name for symbol in relation.free_symbols}


def _solution_set(relation: Any) -> Any | None:
    """Return the real solutions of a relation, or the set of x in x in (1, 2)."""
    stated = _stated_value(relation, as_gold=True)
    return stated if isinstance(stated, Set) else real_set(_evaluated(relation))


def _shortened(relation: Any) -> Any:
    """Turn a chain that works out a named value, A = pi r^2 = 9 pi, into A = 9 pi."""
    members = _members(relation)
    if members is None or len(members) == 2 or not _is_name(members[0]) or members[-1].is_Symbol:
        return relation
    value = _stated_value(relation, as_gold=True)
    return relation if value is None else Eq(members[0], value, evaluate=False)


def _same_single(gold: Any, answer: Any) -> bool:
    """Compare two relations that are no chains."""
    if isinstance(gold, (Eq, Ne)):
        if type(gold) is not type(answer):
            return False
        zeros = same_zeros(gold, answer)
        return _same_sides(gold, answer) if zeros is None else zeros
    return _same_sides(gold, answer) or same_inequality(gold, answer)


def _same_sides(gold: Any, answer: Any) -> bool:
    if isinstance(answer, type(gold)) and same_value(gold.lhs, answer.lhs):
        return same_value(gold.rhs, answer.rhs)
    return (
        isinstance(answer.reversed, type(gold))
        and same_value(gold.lhs, answer.rhs)
        and same_value(gold.rhs, answer.lhs)
    )
