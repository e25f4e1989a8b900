"""What counts in a text, and what is layout."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.problems.words import answer_key, ngrams, words

TOKENS = (
    "find",
    "x",
    "\u03c0",
    "\u6570",
    "\\sin",
    "7",
    "12",
    "3.5",
    "1000",
    "+",
    "-",
    "=",
    "(",
    ")",
    "^",
    "/",
)
SPACES = (" ", "  ", "\n", " $ ", "\\, ", "~ ", " \\left ", " \\; ", " {", "} ", " \\quad ", "\\! ", ". ")


@given(data=st.data(), tokens=st.lists(st.sampled_from(TOKENS), max_size=30))
def test_layout_changes_nothing(data: st.DataObject, tokens: list[str]) -> None:
    spaces = data.draw(st.lists(st.sampled_from(SPACES), min_size=len(tokens), max_size=len(tokens)))
    text = "".join(token + space for token, space in zip(tokens, spaces, strict=True))
    assert words(text) == words(" ".join(tokens)) == [token.removeprefix("\\") for token in tokens]
    assert words(text.upper()) == words(text)


@given(data=st.data(), tokens=st.lists(st.sampled_from(TOKENS), min_size=1, max_size=30))
def test_another_word_number_or_operator_is_another_text(data: st.DataObject, tokens: list[str]) -> None:
    at = data.draw(st.integers(0, len(tokens) - 1))
    other = data.draw(st.sampled_from([token for token in TOKENS if token != tokens[at]]))
    assert words(" ".join([*tokens[:at], other, *tokens[at + 1 :]])) != words(" ".join(tokens))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("$\\dfrac{1}{2}$", "\\frac{1}{2}"),
        ("\\[x^{2} = 4.\\]", "\\(x^2=4\\)"),
        ("at 1,000 or 1{,}000 feet", "at 1000 or 1000 feet"),
        ("A square. [asy] draw((0,0)--(1,1)); [/asy] Its area?", "A square. Its area?"),
        ("\u201cx\u201d \u2212 1", '"x" - 1'),
    ],
)
def test_the_same_text(one: str, other: str) -> None:
    assert words(one) == words(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("1.5", "15"), ("x + 1", "x - 1"), ("x^2", "x2"), ("n!", "n"), ("1,5", "15"), ("1 2", "12"), ("<", ">")],
)
def test_not_the_same_text(one: str, other: str) -> None:
    assert words(one) != words(other)


def test_answers_are_the_same_number_or_the_same_words() -> None:
    assert answer_key("5.0") == answer_key("$5$") == "5"
    assert answer_key("1,000") == answer_key("1000")
    assert len({answer_key(one) for one in ("5", "-5", "50", "0.5", "\\frac{1}{2}")}) == 5


def test_ngrams_are_runs() -> None:
    assert list(ngrams("abcd", 3)) == [("a", "b", "c"), ("b", "c", "d")]
    assert list(ngrams("ab", 3)) == []
