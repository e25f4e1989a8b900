"""Repeated problems and problems of benchmarks are taken out: planted ones, and against a plain reckoning."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.config import CleanConfig
from src.problems import Problem, ProblemError
from src.problems import clean as module
from src.problems.clean import clean, removals
from src.problems.overlap import Benchmarks
from src.problems.words import ngrams, words

ON = CleanConfig(enabled=True)
TEXT = (
    "Let $ABCD$ be a square with side length $12$ and let $P$ be a point inside it such that the distances "
    "to $A$, $B$ and $C$ are $5$, $7$ and $9$. Find the area of triangle $ABP$ to the nearest whole number."
)
SHORT = "Compute $\\sin 60^\\circ$."


def problem(name: str, text: str, answer: str = "1") -> Problem:
    return Problem(name, text, answer, None, None, "x")


def others(number: int) -> list[Problem]:
    """Return problems that share no n-gram with each other or with the texts above."""
    rng = random.Random(0)
    texts = (" ".join(f"w{rng.randrange(10**6)}x" for _ in range(30)) for _ in range(number))
    return [problem(f"other{index}", text) for index, text in enumerate(texts)]


BENCH = {"bench": [problem("b0", TEXT), problem("b1", SHORT)]}


def removed(report: dict[str, object], reason: str) -> list[str]:
    rows = report["removed"][reason]  # type: ignore[index]
    assert rows["number"] == len(rows["listed"])
    return [row["id"] for row in rows["listed"]]


@pytest.mark.parametrize(
    ("text", "of"),
    [
        (TEXT, "b0"),
        (TEXT.replace(" ", "  ").replace("$", "").upper(), "b0"),
        (f"Solve this, and explain each of the 3 steps. {TEXT} Give the answer in a box.", "b0"),
        (TEXT.replace("nearest whole number", "closest integer"), "b0"),
        (TEXT.replace("$9$", "$10$"), None),
        (TEXT.replace("$12$", "$13$"), None),
        (TEXT[: len(TEXT) // 2], None),
        (SHORT, "b1"),
        ("compute sin 60^\\circ", "b1"),
        ("Compute $\\sin 60^\\circ + \\cos 60^\\circ$.", None),
        ("Compute $\\sin 30^\\circ$.", None),
    ],
)
def test_planted_problems(text: str, of: str | None) -> None:
    kept, report = clean([*others(3), problem("planted", text)], BENCH, ON)
    assert [one.id for one in kept] == ["other0", "other1", "other2"] + ["planted"] * (of is None)
    assert [row["problem"] for row in report["removed"]["benchmark"]["listed"]] == [of] * (of is not None)
    assert report["benchmarks"] == {"bench": {"problems": 2, "removed": int(of is not None)}}


def test_other_numbers_are_another_problem_for_training_too() -> None:
    texts = [TEXT, TEXT.replace("5", "6"), TEXT.lower(), f"{TEXT} Explain."]
    kept, report = clean([problem(str(at), text) for at, text in enumerate(texts)], {}, ON)
    assert [one.id for one in kept] == ["0", "1", "3"]
    assert report["removed"]["repeated"]["listed"] == [{"id": "2", "of": "0"}]


def test_conflicting_answers_take_all_copies_out() -> None:
    problems = [
        problem("a", TEXT, "5"),
        problem("b", SHORT, "5"),
        problem("c", TEXT.lower(), "6"),
        problem("d", SHORT, "5.0"),
        problem("e", TEXT, "5"),
    ]
    kept, report = clean(problems, {}, ON)
    assert [one.id for one in kept] == ["b"]
    assert removed(report, "conflicting") == ["a", "c", "e"]
    assert removed(report, "repeated") == ["d"]
    assert removals(report) == "1 repeated, 3 with conflicting answers, 0 of benchmarks"


def test_the_first_benchmark_that_holds_a_problem_is_named() -> None:
    against = {"heldout": BENCH["bench"][:1], "bench": BENCH["bench"]}
    _, report = clean([*others(1), problem("a", TEXT), problem("b", TEXT)], against, ON)
    assert report["benchmarks"]["heldout"] == {"problems": 1, "removed": 2}
    assert report["benchmarks"]["bench"] == {"problems": 2, "removed": 0}
    assert removals(report).endswith("2 of benchmarks (heldout 2)")


def test_nothing_left_is_an_error_with_the_numbers() -> None:
    with pytest.raises(
        ProblemError, match=r"none of 2 training problems is left .*2 of benchmarks \(bench 2\)"
    ):
        clean([problem("a", TEXT), problem("b", TEXT)], BENCH, ON)


def test_numbers_are_whole_where_lists_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LISTED", 3)
    _, report = clean([problem(str(at), TEXT) for at in range(9)], {}, ON)
    assert report["removed"]["repeated"]["number"] == 8
    assert len(report["removed"]["repeated"]["listed"]) == 3


# Few words, so that runs of three are often shared.
SENTENCE = st.lists(st.sampled_from(["a", "b", "c", "1", "2"]), max_size=9).map(" ".join)
SMALL = CleanConfig(enabled=True, ngram=3, overlap=0.5)


def reckoned(said: Sequence[str], bench: list[list[str]], n: int, share: float) -> tuple[int, float] | None:
    """Return the index and overlap that :meth:`Benchmarks.find` is to find, from its description."""
    if list(said) in bench:
        return bench.index(list(said)), 1.0
    best = None
    mine, numbers = set(ngrams(said, n)), Counter(word for word in said if word.isdigit())
    for index, other in enumerate(bench):
        grams = set(ngrams(other, n))
        if not grams or Counter(word for word in other if word.isdigit()) - numbers:
            continue
        overlap = len(grams & mine) / len(grams)
        if overlap >= share and (best is None or overlap > best[1]):
            best = index, overlap
    return best


@given(text=SENTENCE, bench=st.lists(SENTENCE, max_size=6), share=st.sampled_from([0.2, 0.5, 1.0]))
def test_what_is_found_is_what_the_description_says(text: str, bench: list[str], share: float) -> None:
    index = Benchmarks((("x", problem(str(at), one)) for at, one in enumerate(bench)), 3, share)
    found = index.find(words(text))
    expected = reckoned(words(text), [words(one) for one in bench], 3, share)
    assert (found and (int(found.id), found.overlap)) == expected


@given(
    rows=st.lists(st.tuples(SENTENCE.filter(bool), st.sampled_from("12")), min_size=1, max_size=20),
    bench=st.lists(SENTENCE, max_size=3),
)
def test_every_problem_is_kept_or_counted_once(rows: list[tuple[str, str]], bench: list[str]) -> None:
    problems = [problem(str(at), text, answer) for at, (text, answer) in enumerate(rows)]
    against = {"bench": [problem(f"b{at}", text) for at, text in enumerate(bench)]}
    try:
        kept, report = clean(problems, against, SMALL)
    except ProblemError:
        return
    gone = [one for reason in report["removed"] for one in removed(report, reason)]
    assert sorted([one.id for one in kept] + gone, key=int) == [one.id for one in problems]
    assert [one.id for one in kept] == sorted((one.id for one in kept), key=int), "order"
    assert clean(problems, against, SMALL) == (kept, report)
    assert clean(kept, against, SMALL)[0] == kept, "once is enough"
    assert len({tuple(words(one.text)) for one in kept}) == len(kept)
