r"""What counts as the policy's answer. ``\boxed`` in code or in an invented output block earns nothing."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.rewards.answers import extract_answer, last_expression


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no answer", None),
        (r"so $\boxed{5}$.", "5"),
        (r"\boxed{ 5 }", "5"),
        ("\\boxed\n {5}", "5"),
        (r"\fbox{5}", "5"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ x : x > 0 \right\}}", r"\left\{ x : x > 0 \right\}"),
        (r"\boxed{\}}", r"\}"),
        (r"\\boxed{5}", "5"),
        (r"x = 2 \\\boxed{5}", "5"),
        (r"$\boxed 7$ apples", "7"),
        (r"$\boxed x$", "x"),
        (r"$\boxed\frac12$", r"\frac12"),
        (r"\(\boxed \frac{1}{2}\) and", r"\frac{1}{2}"),
        (r"\[\boxed -3\]", "-3"),
        (r"The answer is \boxed 7.", "7"),
        (r"The answer is \boxed 7. Then", "7"),
        ("The answer is \\boxed 7 apples", "7"),
        ("\\boxed (1, 2)\nnext", "(1, 2)"),
        (r"{\boxed 7}", "7"),
        # The last one wins, nested ones count as the outermost.
        (r"\boxed{1} or \boxed{2}", "2"),
        (r"\boxed{1} or \fbox{2}", "2"),
        (r"\boxed{1} or $\boxed 2$", "2"),
        (r"$\boxed 1$ or \boxed{2}", "2"),
        (r"\boxed{x = \boxed{5}}", r"x = \boxed{5}"),
        (r"\boxed{x = \boxed 5}", r"x = \boxed 5"),
        (r"\boxed{1 and \boxed{2}", "2"),
        # An empty or unfinished last box is no answer, whatever was boxed before.
        (r"\boxed{}", None),
        (r"\boxed{5} then \boxed{ }", None),
        (r"\boxed{5", None),
        (r"\boxed{4} then \boxed{5", None),
        (r"\boxed{4} then \boxed{\frac{1}{2}", None),
        (r"\boxed{5\}", None),
        (r"\boxed \frac{1", None),
        (r"\boxed", None),
        (r"\boxed}", None),
        (r"}}} \boxed{5} {{{", "5"),
        (r"{ \boxed{5}", "5"),
        # Other commands and words.
        (r"\boxedx{5}", None),
        ("boxed{5}", None),
    ],
)
def test_last_box(text: str, expected: str | None) -> None:
    assert extract_answer([text]) == expected


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], None),
        ([r"\boxed{1}", "no box"], "1"),
        ([r"\boxed{1}", r"\boxed{2}"], "2"),
        (["```python\nprint(r'\\boxed{1}')\n```"], None),
        ([r"\boxed{1}" + "\n```python\nprint(r'\\boxed{2}')\n```"], "1"),
        (["```py\n#\n```\n```output\n\\boxed{1}\n```\n"], None),
        (["```output\n\\boxed{1}"], None),
        (["```output\n\\boxed{1}\n```\n\\boxed{2}"], "2"),
        (["````python\n```\n\\boxed{1}\n````"], None),
        # A text starts outside a block, and a block ends with its text.
        (["```python\nx", r"\boxed{2}"], "2"),
        # A box does not reach across a block or a text.
        (["\\boxed{1\n```python\nx\n```\n}"], None),
        ([r"\boxed{1", "}"], None),
        ([r"\boxed", "{1}"], None),
        # A fence without a label, or another one, is no code block of ours.
        (["```\n\\boxed{1}\n```"], "1"),
        (["```latex\n\\boxed{1}\n```"], "1"),
    ],
)
def test_only_text_outside_blocks_counts(texts: list[str], expected: str | None) -> None:
    assert extract_answer(texts) == expected


PARTS = st.sampled_from(
    [*"{}\\7 \n$x", "\\{", "\\boxed{", "\\boxed ", "\\fbox", "```python\n", "```output\n", "\n```"]
)


@given(st.lists(st.lists(PARTS, max_size=20).map("".join), max_size=4))
@settings(max_examples=300)
def test_any_text_gives_an_answer_from_it_or_none(texts: list[str]) -> None:
    answer = extract_answer(texts)
    assert answer is None or (answer == answer.strip() != "" and any(answer in text for text in texts))


@given(st.lists(PARTS, max_size=20).map("".join), st.integers())
@settings(max_examples=300)
def test_a_box_in_an_own_segment_wins_and_one_in_a_block_never_does(text: str, number: int) -> None:
    boxed = f"\\boxed{{{number}}}"
    assert extract_answer([text, boxed]) == str(number)
    for label in ("python", "py", "output", "PYTHON"):
        assert extract_answer([text, f"```{label}\n{boxed}\n```"]) == extract_answer([text])


@pytest.mark.parametrize(
    "unit",
    [
        "\\boxed{",
        "}",
        "\\boxed{1}",
        "\\boxed ",
        "{",
        "\\",
        " ",
        "\\boxed{}",
        "$",
        "```python\n",
        "a\\boxed",
        "\n```",
    ],
)
@pytest.mark.parametrize("tail", ["\\boxed 7", "\\boxed{"])
def test_a_megabyte_takes_linear_time(unit: str, tail: str) -> None:
    text = unit * (1_000_000 // len(unit)) + tail
    start = time.perf_counter()
    extract_answer([text])
    extract_answer([text[::-1]])
    assert time.perf_counter() - start < 20


def test_deeply_nested_boxes_take_linear_time() -> None:
    start = time.perf_counter()
    answer = extract_answer(["\\boxed{" * 100_000 + "1" + "}" * 100_000])
    assert answer is not None
    assert len(answer) > 700_000
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        # a number
        (["the answer is 42."], "42"),
        (["so 1,234 it is"], "1,234"),
        (["1,234,567.25 in all"], "1,234,567.25"),
        (["it is -7"], "-7"),
        (["12\nor 13\n\n"], "13"),
        (["pi is 3.14"], "3.14"),
        (["it is 5\nI think"], "5"),
        (["a share of 50%"], "50%"),
        (["about 3/4 of it"], "3/4"),
        (["x = 2^{10}"], "2^{10}"),
        (["take \\frac{3}{4} of it"], "\\frac{3}{4}"),
        (["it is 2\\sqrt{3} long"], "2\\sqrt{3}"),
        # a formula
        (["so $x = 5$ holds"], "x = 5"),
        (["so \\( x+1 \\)."], "x+1"),
        (["\\[ \\frac12. \\]"], "\\frac12"),
        (["$1$, then 2"], "2"),
        (["it costs $5 or $6"], "6"),
        # a box
        (["\\boxed{17}"], "17"),
        (["$\\boxed{x^2+1}$."], "x^2+1"),
        (["\\boxed{3}, or rather 4"], "4"),
        (["\\boxed{\\frac{1}{2}}"], "\\frac{1}{2}"),
        (["\\boxed{\\text{even}}"], "\\text{even}"),
        (["for 12 of them, \\boxed{\\text{even}}"], "\\text{even}"),
        # not in a block, nor in words
        (["first 5", "then 6"], "6"),
        (["first 5", "```python\nprint(7)\n```\n"], "5"),
        (["it is 5\n```python\nprint(7)\n```\n"], "5"),
        (["x2 and 2x"], None),
        ([], None),
        ([""], None),
        (["$ $"], None),
    ],
)
def test_the_last_expression(texts: list[str], found: str | None) -> None:
    assert last_expression(texts) == found


@pytest.mark.parametrize("unit", ["$", "\\(", "\\[", "1", "1,", "1/", "\\frac{", "\\sqrt{", " -", "\\boxed{"])
def test_the_last_expression_of_a_megabyte_takes_no_time(unit: str) -> None:
    start = time.perf_counter()
    last_expression([unit * (1_000_000 // len(unit))])
    assert time.perf_counter() - start < 20
