"""Equations and inequalities as answers: none that cannot be solved equals another; none is always right."""

from __future__ import annotations

import pytest

from experiments.grading.universal import CANDIDATES, EQUAL, GOLDS, unequal
from src.problems.mini import generate
from src.rewards.equivalence import equivalent

# Candidates that can neither be solved nor be told from a truth by solving them.
WORST = ["0=0", "1=2", "x=x", "f(2)=6"]

EQUAL_PAIRS = [
    # an equation stands for its right-hand side
    ("5", "x=5"), ("x=5", "5"), ("f(2)=5", "5"), ("5", "f(2)=5"), ("P(A)=\\frac13", "\\frac{1}{3}"),
    ("2x+3", "y=2x+3"), ("y=2x+3", "2x+3"), ("e=\\frac{\\sqrt3}{2}", "\\frac{\\sqrt{3}}{2}"),
    ("A=\\pi r^2=9\\pi", "9\\pi"), ("a_n=2n+1", "2n+1"), ("\\sin x=\\frac12", "\\frac12"),
    # the same relation, written otherwise
    ("f(2)=5", "f(2)=5"), ("f(2)=5", "f(2) = 5.0"), ("f(2)=5", "5=f(2)"), ("x=5", "5=x"),
    ("x=5", "x=\\frac{10}{2}"), ("e=\\frac{\\sqrt3}{2}", "e=\\frac12\\sqrt{3}"), ("a_n=2n+1", "a_n=1+2n"),
    ("P(A)=\\frac13", "P(A)=\\frac26"), ("x^2-2x+10=0", "x^2-2x+10=0"), ("x^2-2x+10=0", "x^2+10=2x"),
    ("x^2-2x+10=0", "2x^2-4x+20=0"), ("x^2-3x+2=0", "(x-1)(x-2)=0"), ("y=2x+3", "y-2x=3"),
    ("2x-y=1", "y=2x-1"), ("x+y=5", "2x+2y=10"), ("x^2+y^2=4", "\\frac{x^2}{4}+\\frac{y^2}{4}=1"),
    ("xy=1", "y=\\frac{1}{x}"), ("x=1, x=2", "1,2"), ("\\frac{x^2}{4}+\\frac{y^2}{9}=1", "9x^2+4y^2=36"),
    ("f(x)=x+1", "f(x)=1+x"), ("y=x", "x-y=0"), ("x^2+1=0", "x^2=-1"), ("1=2", "1=2"), ("0=0", "0=0"),
    # inequalities
    ("x<2", "2>x"), ("x\\ge 0", "0\\le x"), ("-2\\le x\\le 7", "[-2,7]"), ("x<2", "(-\\infty,2)"),
    ("x>3", "x-3>0"), ("1<x<2", "(1,2)"), ("-2\\le x\\le 7", "7\\ge x\\ge -2"), ("x\\ne 3", "x\\neq 3"),
    # several
    ("x=1, x=2", "x=2, x=1"), ("x = 3 \\text{ or } x = -2", "-2,3"), ("x=1,y=2", "x=1, y=2"),
    ("f(1)=2, f(2)=3", "f(1)=2, f(2)=3"), ("x=\\pm 2", "2,-2"),
]  # fmt: skip
UNEQUAL_PAIRS = [
    # neither can be solved
    ("f(2)=5", "f(2)=6"), ("f(2)=5", "f(3)=5"), ("f(2)=5", "g(2)=5"), ("f(1)=2", "f(2)=1"),
    ("f(x)=x+1", "f(x)=x"), ("x^2-2x+10=0", "1=2"), ("x^2-2x+10=0", "x^2+1=0"),
    ("x^2-2x+10=0", "x^2-2x+11=0"), ("x^2+1=0", "x^2+2=0"), ("e=\\frac{\\sqrt3}{2}", "1=2"),
    ("e=\\frac{\\sqrt3}{2}", "0=0"), ("e=2", "e=3"), ("e=2", "\\pi=3"), ("(x+1)^2=x^2+2x+2", "0=0"),
    ("(x+1)^2=x^2+2x+2", "1=2"), ("(x+1)^2=x^2+2x+1", "0=0"), ("x=x+1", "1=2"), ("x=x+1", "x=x+2"),
    ("x=x", "0=0"), ("x=x", "y=y"), ("0=0", "1=1"), ("1=2", "2=3"), ("1=2", "0=1"), ("0=0", "1=2"),
    ("P(A)=\\frac13", "P(A)=\\frac14"), ("P(A)=\\frac13", "P(B)=\\frac13"), ("a_n=2n+1", "a_n=2n-1"),
    ("|x|=-1", "\\sqrt{x}=-2"), ("2^x=-1", "e^x=-2"), ("\\sin x=2", "\\sin x=3"), ("\\frac{1}{x}=0", "1=0"),
    ("x^2+y^2=-1", "x^2+y^2=-2"), ("f(f(x))=x", "0=0"), ("f(x)=f(-x)", "0=0"), ("f(x)=f(-x)", "f(x)=f(x)"),
    ("\\sin^2 x+\\cos^2 x=1", "0=0"), ("\\sin^2 x+\\cos^2 x=1", "x=x"),
    ("\\angle A=30^\\circ", "\\angle A=60^\\circ"),
    # one can
    ("x=5", "0=0"), ("x=5", "1=2"), ("x=5", "x=6"), ("x=5", "y=5=6"), ("x=5", "x=x"), ("5", "0=0"),
    ("5", "1=2"), ("0", "1=2"), ("x=0", "1=2"), ("y=2x+3", "0=0"), ("y=2x+3", "y=2x+4"),
    ("y=2x+3", "x=2y+3"), ("x+y=5", "x+y=6"), ("x^2-3x+2=0", "x^2-3x+3=0"), ("x^2-3x+2=0", "(x-1)^2=0"),
    ("x^2+y^2=4", "x^2+y^2=2"), ("x^2+y^2=4", "0=0"), ("xy=1", "x=1"), ("x=y=z", "x=y"),
    ("\\frac{x^2}{4}+\\frac{y^2}{9}=1", "\\frac{x^2}{9}+\\frac{y^2}{4}=1"),
    # inequalities
    ("x>3", "x<3"), ("x>3", "x\\ge 3"), ("x>3", "x=3"), ("x<2", "x<3"), ("1<x<2", "1<x<3"), ("x^2<0", "1<0"),
    ("x^2<0", "x^2+1<0"), ("x^2\\ge 0", "0\\le 1"), ("x^2\\ge 0", "x=x"), ("x>y", "x<y"),
    ("a\\ge b", "b\\ge a"), ("x\\ne 3", "x=3"), ("x\\ne 3", "x\\ne 4"), ("1<2", "2<3"), ("f(x)>0", "f(x)<0"),
    ("x^2+1>0", "0<1"),
    # several
    ("x=1, x=2", "x=1"), ("x=1,y=2", "x=2,y=1"), ("f(1)=2, f(2)=3", "f(1)=2, f(2)=4"), ("x=1, x=2", "0=0"),
    ("x=1, x=2", "0=0, 0=0"), ("1,2", "0=0, 0=0"), ("(1,2)", "x=x"), ("\\{1,2\\}", "1=2"),
    ("\\emptyset", "1=2"), ("\\emptyset", "x=x+1"), ("\\mathbb{R}", "0=0"), ("\\mathbb{R}", "x=x"),
    ("(-\\infty,\\infty)", "0=0"),
]  # fmt: skip


@pytest.mark.parametrize(("gold", "answer"), EQUAL_PAIRS)
def test_equal(gold: str, answer: str) -> None:
    assert equivalent(gold, answer)


@pytest.mark.parametrize(("gold", "answer"), UNEQUAL_PAIRS)
def test_unequal(gold: str, answer: str) -> None:
    assert not equivalent(gold, answer)
    assert not equivalent(answer, gold)


def test_the_lists_are_long_enough_to_tell() -> None:
    assert len(set(GOLDS)) >= 150
    assert len(set(CANDIDATES)) >= 100
    assert set(WORST) <= set(CANDIDATES)
    assert {gold for gold, _ in EQUAL} <= set(GOLDS)
    assert {candidate for _, candidate in EQUAL} <= set(CANDIDATES)
    most = max(sum(one == candidate for _, one in EQUAL) for candidate in CANDIDATES)
    assert most <= 4, "an answer that equals many golds is worth a look"


@pytest.mark.long
def test_none_of_the_worst_is_right_for_any_gold_that_it_does_not_equal() -> None:
    golds = GOLDS + [problem.answer for problem in generate(200, 0, "heldout")]
    assert unequal(golds, WORST, workers=2, seconds=10) == []
