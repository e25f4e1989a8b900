"""Pairs of every kind of answer, in one process; inputs that hang are for test_grader.py."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.rewards.equivalence import equivalent
from src.rewards.literals import plain_number

MATRIX = r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}"

EQUIVALENT = [
    # fractions and decimals
    (r"\frac{3}{4}", r"\dfrac{3}{4}"),
    (r"\frac{3}{4}", r"\frac34"),
    (r"\frac{3}{4}", "3/4"),
    (r"\frac{3}{4}", "0.75"),
    (r"\frac{3}{4}", r"\frac{6}{8}"),
    ("3/4", r"\tfrac{3}{4}"),
    (r"-\frac{3}{4}", r"\frac{-3}{4}"),
    (r"-\frac{1}{2}", "-.5"),
    (r"1\frac{1}{2}", r"\frac{3}{2}"),
    (r"\frac{1}{3}", r"0.\overline{3}"),
    (r"\frac{1}{6}", r"0.1\overline{6}"),
    ("12", "12.0"),
    ("12", "012"),
    ("12", "$12$."),
    # large numbers
    ("1000", "1,000"),
    ("10,080", "10{,}080"),
    (r"11,\! 111,\! 111", "11111111"),
    ("1000", "10^3"),
    ("120", "5!"),
    ("120", r"\binom{10}{3}"),
    (r"2^{100}", "1267650600228229401496703205376"),
    # surds, constants, functions
    (r"\sqrt{8}", r"2\sqrt2"),
    (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}"),
    (r"\sqrt{2} + \sqrt{3}", r"\sqrt{5 + 2\sqrt{6}}"),
    (r"2\sqrt{2}", "2*sqrt(2)"),
    (r"3\sqrt{13}", "3√13"),
    (r"\frac{\pi}{2}", "pi/2"),
    (r"12\pi", "12π"),
    (r"\frac{1}{2}\ln 2", r"\ln\sqrt{2}"),
    (r"\log_2 8", "3"),
    ("3 + 4i", "4i+3"),
    # expressions
    ("x^{2} - 5 x + 6", "6-5x+x^2"),
    ("x^{2} - 5 x + 6", "(x-2)(x-3)"),
    ("x^{2} - 5 x + 6", "x**2 - 5*x + 6"),
    (r"\frac{x+2}{7}", "(x+2)/7"),
    (r"\cot x", r"\frac{\cos x}{\sin x}"),
    # equations and relations
    ("5", "x = 5"),
    ("x=5", "5"),
    ("y = 2x + 3", "2x+3"),
    ("2x - y = 1", "y = 2x - 1"),
    ("x < 2", r"(-\infty, 2)"),
    (r"(-\infty, 2)", "x < 2"),
    ("[-2,7]", r"-2 \le x \le 7"),
    ("[-2,7]", r"x \in [-2,7]"),
    # tuples, sets, intervals, matrices
    (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\pi/2)"),
    ("1, 2", "2,1"),
    (r"\{1, 2\}", r"\{2, 1\}"),
    (r"1 \pm \sqrt{2}", r"1 - \sqrt{2}, 1 + \sqrt{2}"),
    (r"x = 3 \text{ or } x = -2", "-2, 3"),
    (r"(-\infty,-2)\cup(2,\infty)", r"(2,\infty) \cup (-\infty,-2)"),
    (r"\emptyset", r"\varnothing"),
    ("(3,4),(5,6)", "(5,6),(3,4)"),
    (MATRIX, MATRIX.replace("pmatrix", "bmatrix")),
    (r"\begin{pmatrix} 1/2 \\ 0 \end{pmatrix}", r"\begin{pmatrix} 0.5 \\ 0 \end{pmatrix}"),
    # units, percentages, money, bases, times
    (r"10\text{ cm}", "10"),
    ("10", r"10\,\mathrm{cm}^2"),
    ("10", "10 cm"),
    (r"10\text{ cm}", "10 centimeters"),
    (r"90^\circ", "90"),
    ("90", "90°"),
    (r"50\%", "50"),
    (r"50\%", "0.5"),
    ("0.25", r"25\%"),
    (r"25\%", r"\frac14"),
    (r"\$18.90", "18.9"),
    (r"36\text{ dollars}", r"\$36"),
    ("2516_8", "2516_{8}"),
    ("2516_8", "2516"),
    ("4:30", "4:30"),
    (r"11:00\text{ a.m.}", "11:00"),
    # text
    (r"\text{Evelyn}", "Evelyn"),
    (r"\text{Evelyn}", r"\textbf{evelyn}"),
    (r"\text{odd}", "odd"),
    (r"\text{(A)}", "A"),
    ("A", r"\textbf{(A)}"),
    ("A_1", "A_{1}"),
    (r"\text{no solution}", "no solution"),
    (r"\text{June }20", "June 20"),
    (r"\text{12 apples}", "12"),
]

DIFFERENT = [
    (r"\frac{3}{4}", r"\frac{4}{3}"),
    ("-5", "5"),
    ("12", "12, 13"),
    ("9", r"9 \text{ or } 10"),
    ("12", "the answer is 12"),
    ("12", "twelve"),
    ("1,2,3", "123"),
    # An approximation is not the number.
    (r"\frac{\pi}{4}", "0.79"),
    (r"\frac{\pi}{4}", "0.785398"),
    (r"\frac{\pi}{4}", "0.7853981633974483"),
    (r"\frac{1}{3}", "0.333333"),
    (r"e^2", "7.389056"),
    (r"\pi", r"\frac{22}{7}"),
    ("1.41421356", r"\sqrt{2}"),
    ("3", "3.0000001"),
    # Small and large numbers that agree in the first decimals.
    (r"\frac{1}{2^{100}}", r"\frac{1}{2^{99}}"),
    ("10^{-20}", r"2 \cdot 10^{-20}"),
    (r"\sqrt{2} \cdot 10^{-25}", r"\sqrt{3} \cdot 10^{-25}"),
    (r"2^{200} + \sqrt{2}", r"2^{200} + \sqrt{3}"),
    (r"\infty", "5"),
    (r"\infty", r"-\infty"),
    # expressions
    ("x^2 - 5x + 6", "x^2 - 5x + 7"),
    ("x^2 - 5x + 6", "y^2 - 5y + 6"),
    ("p - q", "q - p"),
    ("2", "2x"),
    ("4c", "4"),
    ("4", "4c"),
    ("5t", "5m"),
    ("3 + 4i", "3 - 4i"),
    ("x = 5", "x = 6"),
    ("x = 5", "y = 5"),
    ("5", "x = 6"),
    # order, ends and shape
    ("(1,2)", "(2,1)"),
    ("(1,2)", "[1,2]"),
    (r"(-\infty, 2)", r"(-\infty, 2]"),
    ("[-2,7]", r"-2 \le x < 7"),
    ("(1,2,3)", "(1,2,4)"),
    (r"\{1,2\}", r"\{1,3\}"),
    (r"\pm 3", "3"),
    ("(3,4),(5,6)", "(3,4),(5,7)"),
    (MATRIX, MATRIX.replace("4", "5")),
    # units, percentages, bases, times
    (r"10\text{ cm}", r"11\text{ cm}"),
    (r"50\%", "60"),
    (r"50\%", "0.05"),
    ("2516_8", "2516_9"),
    ("2516_8", "2517_8"),
    (r"11:00\text{ a.m.}", r"11:00\text{ p.m.}"),
    (r"3.4\text{ cm}", r"34\text{ cm}"),
    # text: not a product of letters
    (r"\text{Evelyn}", r"\text{Carla}"),
    (r"\text{even}", r"\text{odd}"),
    (r"\text{stop}", "pots"),
    (r"\text{(A)}", "B"),
    ("0", r"\text{none}"),
    # nothing to compare
    ("", ""),
    ("12", ""),
    ("12", "$"),
    ("12", r"\frac{12}"),
    (r"\text{.}", "()"),
    ("A_1", "A_2"),
    ("12", r"\frac{12}{0}"),
    (r"\frac{1}{0}", r"\frac{2}{0}"),
]


@pytest.mark.parametrize(("gold", "answer"), EQUIVALENT)
def test_equivalent(gold: str, answer: str) -> None:
    assert equivalent(gold, answer)


@pytest.mark.parametrize(("gold", "answer"), DIFFERENT)
def test_different(gold: str, answer: str) -> None:
    assert not equivalent(gold, answer)


NUMBER = st.integers(-99, 99)
SPELLINGS = [
    "{0}/{1}",
    r"\frac{{{0}}}{{{1}}}",
    r"-\frac{{{0}}}{{{1}}}",
    r"\dfrac{{{0}}}{{{1}}}",
    "{0}.{1}",
    "{0}",
]


@given(st.sampled_from(SPELLINGS), st.sampled_from(SPELLINGS), NUMBER, NUMBER, st.integers(1, 99))
@settings(max_examples=60)
def test_plain_numbers_agree_with_the_full_comparison(
    gold: str, answer: str, first: int, second: int, below: int
) -> None:
    gold, answer = gold.format(first, below), answer.format(second, below)
    numbers = plain_number(gold), plain_number(answer)
    assert None not in numbers
    assert equivalent(gold, answer) == (numbers[0] == numbers[1])


@pytest.mark.parametrize(
    "text", ["", "x", "1,000", "1/2/3", "1.5/2", "1/0", r"\frac{1}{0}", "1e3", "٣", "9" * 400, "1_0"]
)
def test_what_is_not_a_plain_number(text: str) -> None:
    assert plain_number(text) is None
