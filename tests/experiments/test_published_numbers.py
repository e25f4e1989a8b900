"""The numbers in the READMEs' tables, and every interval in their texts, are those of the result files."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from src.config.paths import ROOT
from src.run.intervals import wilson

EXPERIMENTS = ROOT / "experiments"
PUBLISHED = sorted(path.parent.parent.name for path in EXPERIMENTS.glob("*/result/mini"))
NUMBER = r"[+-]?\d[\d,]*(?:\.\d+)?(?:e-\d+)?"
INTERVAL = re.compile(rf"({NUMBER})(?: %)? \[({NUMBER}), ({NUMBER})\]")
RANGE = re.compile(rf"({NUMBER}) \(({NUMBER}) to ({NUMBER})\)")
LINK = re.compile(r"\]\(experiments/(\w+)/README\.md\)")


class Estimate(NamedTuple):
    """A published value with its interval, and the arm that it is of or that was compared."""

    arms: frozenset[str]
    value: float
    low: float
    high: float


def number(text: str) -> float:
    return float(text.replace(",", ""))


def rounds_to(value: float, text: str) -> bool:
    """Whether ``value`` rounds to ``text``; a half may go either way."""
    digits, _, exponent = text.replace(",", "").partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))
    return abs(value - number(text)) <= unit * 0.5 * (1 + 1e-6)


def walk(node: Any) -> Iterator[Any]:
    """Yield every node of a JSON document."""
    yield node
    for one in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from walk(one)


@cache
def documents(folder: Path) -> list[Any]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.json"))]


@cache
def estimates(folder: Path) -> list[Estimate]:
    """Return the estimates in the JSON and CSV files of ``folder``."""
    rows = [node for one in documents(folder) for node in walk(one) if isinstance(node, dict)]
    for path in sorted(folder.rglob("*.csv")):
        rows += csv.DictReader(path.open(encoding="utf-8"))
    found = []
    for row in rows:
        names = (row.get(key) for key in ("arm", "baseline", "first", "second", "ahead", "behind"))
        arms = frozenset(one for one in names if isinstance(one, str))
        for key in ("value", "k"):
            try:
                found.append(Estimate(arms, *(float(row[name]) for name in (key, "low", "high"))))
            except (KeyError, TypeError, ValueError):
                continue
    return found


def says(one: Estimate, words: tuple[str, ...]) -> bool:
    """Whether an estimate, or its negative, is what the three numbers say, perhaps in per cent."""
    ways = [(one.value, one.low, one.high), (-one.value, -one.high, -one.low)]
    return any(
        all(rounds_to(scale * number, word) for number, word in zip(way, words, strict=True))
        for way in ways
        for scale in (1, 100)
    )


def cells(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield first cell of the row, head of the column, and text, of every cell of every table's body."""
    head: list[str] = []
    for line in text.splitlines():
        row = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if not row:
            head = []
        elif not head:
            head = row
        elif set(row[0]) != {"-"}:
            for name, cell in zip(head[1:], row[1:], strict=True):
                yield row[0], name, cell


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_interval_is_published(name: str) -> None:
    """In tables and texts; the values of arms at some k stand in the figure's analysis, see below."""
    text = (EXPERIMENTS / name / "README.md").read_text(encoding="utf-8")
    if name == "capability_boundary":
        text = "\n".join(line for line in text.splitlines() if not line.startswith("| "))
    known = estimates(EXPERIMENTS / name / "result")
    if name == "boundary":
        known = known + estimates(EXPERIMENTS / "performance" / "rollout")
    found = INTERVAL.findall(text)
    assert found
    assert [words for words in found if not any(says(one, words) for one in known)] == []


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_interval_in_a_column_of_an_arm_is_of_that_arm(name: str) -> None:
    known = estimates(EXPERIMENTS / name / "result")
    arms = {arm for one in known for arm in one.arms}
    for row, column, cell in cells((EXPERIMENTS / name / "README.md").read_text(encoding="utf-8")):
        for words in INTERVAL.findall(cell) if column in arms else ():
            assert any(column in one.arms and says(one, words) for one in known), (row, column, cell)


def test_pass_at_1_and_the_solved_problems_of_each_arm() -> None:
    """pass@1 is the accuracy that subjects publishes of the same records; pass@256 counts what was solved."""
    readme = (EXPERIMENTS / "capability_boundary" / "README.md").read_text(encoding="utf-8")
    (subjects,) = [one for one in documents(EXPERIMENTS / "subjects" / "result") if "results" in one]
    accuracy = {
        row["arm"]: Estimate(frozenset(), row["value"], row["low"], row["high"])
        for row in subjects["results"]["accuracies"]
        if (row["kind"], row["measure"]) == ("all", "accuracy")
    }
    (curves,) = [one for one in documents(EXPERIMENTS / "capability_boundary" / "result") if "results" in one]
    solved = {}
    for pair in curves["results"]["solved"]:
        solved[pair["first"]] = pair["both"] + len(pair["only_first"])
        solved[pair["second"]] = pair["both"] + len(pair["only_second"])
    checked = 0
    for arm, column, cell in cells(readme):
        ((*words,),) = INTERVAL.findall(cell)
        if column == "pass@1":
            assert says(accuracy[arm], tuple(words)), (arm, cell)
        elif column == "pass@256":
            assert rounds_to(solved[arm] / 120, words[0]), (arm, cell)
        checked += column != "pass@16"  # which is in the figure alone
    assert checked == 12


def numbers_of(folder: Path) -> Iterator[float]:
    """Yield every number in the JSON files, and of each arm the failed executions, listed by type."""
    for node in (node for document in documents(folder) for node in walk(document)):
        if isinstance(node, int | float) and not isinstance(node, bool):
            yield node
        if isinstance(node, dict) and isinstance(node.get("types"), list):
            failed: Counter[str] = Counter()
            for row in node["types"]:
                failed[row["arm"]] += row["executions"]
            yield from failed.values()


@pytest.mark.parametrize("name", PUBLISHED)
def test_plain_numbers_in_tables_are_published(name: str) -> None:
    known = list(numbers_of(EXPERIMENTS / name / "result"))
    for row, column, cell in cells((EXPERIMENTS / name / "README.md").read_text(encoding="utf-8")):
        for word in re.findall(NUMBER, INTERVAL.sub("", cell)):
            found = any(rounds_to(scale * one, word.rstrip(",")) for one in known for scale in (1, 100))
            assert found, (row, column, cell)


def claims() -> list[tuple[str, str, str]]:
    """Return the experiments, name and result of each row of the README's table of claims."""
    rows = []
    for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| [") and (link := LINK.search(line)):
            _, claim, _, here, verdict, _ = re.split(r" ?\| ?", line)
            rows.append((link[1], claim, f"{here} {verdict}"))
    return rows


@pytest.mark.parametrize(("name", "claim", "here"), claims())
def test_the_readme_has_the_numbers_of_the_experiment(name: str, claim: str, here: str) -> None:
    known = estimates(EXPERIMENTS / name / "result")
    found = INTERVAL.findall(here)
    assert [words for words in found if not any(says(one, words) for one in known)] == []


def test_the_readme_has_a_row_for_each_experiment() -> None:
    assert {name for name, _, _ in claims()} == set(PUBLISHED)
    assert sum(len(INTERVAL.findall(here)) for _, _, here in claims()) > 15


def test_intervals_of_the_main_example_are_wilsons() -> None:
    """Of 400 trajectories each; the runs are not kept, so that only this can be checked."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Configuration")[0]
    found = INTERVAL.findall(text)
    assert len(found) == 6
    for words in found:
        intervals = [(right / 400, *wilson(right, 400, 0.95)) for right in range(401)]
        assert any(
            all(rounds_to(value, word) for value, word in zip(one, words, strict=True)) for one in intervals
        ), words


BOUNDARIES = EXPERIMENTS / "performance" / "rollout" / "boundaries.json"


def test_the_table_of_boundaries() -> None:
    counted = json.loads(BOUNDARIES.read_text(encoding="utf-8"))
    seen = set()
    for row, column, cell in cells((EXPERIMENTS / "performance" / "README.md").read_text(encoding="utf-8")):
        one = counted.get(row.strip("`"))
        if one is None or column not in ("sampled", "thrown away", "executions", "accuracy"):
            continue
        seen.add(row)
        if column == "accuracy":
            ((*words,),) = INTERVAL.findall(cell)
            assert says(Estimate(frozenset(), **one["accuracy"]), tuple(words)), (row, cell)
        else:
            first, *share = re.findall(NUMBER, cell)
            assert number(first) == one["dropped" if column == "thrown away" else column], (row, column)
            assert all(rounds_to(100 * one["dropped_ratio"], text) for text in share), (row, column)
    assert len(seen) == len(counted) == 5


PERFORMANCE = {
    "sandbox": "## The sandbox",
    "rollout": "## Rollouts",
    "trl": "## Training steps",
    "records": "## Records",
}


@pytest.mark.parametrize("name", PERFORMANCE)
def test_ranges_of_the_measured_rounds(name: str) -> None:
    """``median (least to most)`` of rounds, or a median with the interval beside it."""
    text = (EXPERIMENTS / "performance" / "README.md").read_text(encoding="utf-8")
    section = PERFORMANCE[name] + text.partition(PERFORMANCE[name])[2].partition("\n## ")[0]
    known: list[tuple[float, float, float]] = []
    for node in (one for document in documents(EXPERIMENTS / "performance" / name) for one in walk(document)):
        if isinstance(node, list):
            values = [one.get("seconds") if isinstance(one, dict) else one for one in node]
            if values and all(isinstance(one, int | float) for one in values):
                known.append((float(np.median(values)), min(values), max(values)))
        if isinstance(node, dict) and {"median", "interval"} <= set(node):
            known.append((node["median"], *node["interval"]))
            known.append((100 * node["median"], *(100 * limit for limit in node["interval"])))  # per cent
    found = [(row, words) for row, _, cell in cells(section) for words in RANGE.findall(cell)]
    assert found
    assert [one for one in found if not any(all(map(rounds_to, it, one[1])) for it in known)] == []
