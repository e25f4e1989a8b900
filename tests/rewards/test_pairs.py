"""The table of pairs: what the grader must accept and refuse, by gold answer.

``pairs.tsv`` states facts: gold answer, answer, and whether they are equal. It covers what the test suites of
other graders cover: numbers, radicals, angles, expressions, equations, inequalities, lists, sets, tuples,
matrices, units, percentages, numerals, times, names and words.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from src.rewards.equivalence import equivalent

TABLE = Path(__file__).with_name("pairs.tsv")
ROWS = [line.split("\t") for line in TABLE.read_text(encoding="utf-8").splitlines()[1:]]


def by_gold() -> dict[str, list[tuple[str, bool]]]:
    found = defaultdict(list)
    for gold, answer, verdict in ROWS:
        found[gold].append((answer, {"equal": True, "unequal": False}[verdict]))
    return found


@pytest.mark.parametrize(("gold", "answers"), by_gold().items(), ids=list(by_gold()))
def test_the_grader_agrees_with_the_table(gold: str, answers: list[tuple[str, bool]]) -> None:
    wrong = [answer for answer, equal in answers if equivalent(gold, answer) != equal]
    assert wrong == []


def test_the_table_is_large_and_says_each_pair_once() -> None:
    assert len({(gold, answer) for gold, answer, _ in ROWS}) == len(ROWS) >= 500
    assert min(sum(row[2] == verdict for row in ROWS) for verdict in ("equal", "unequal")) >= 200
