"""Benchmarks from files and from data sets: the loading code of the hub, on a folder in its place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from src.config import BenchmarkConfig, DataConfig, FieldsConfig, HeldoutConfig
from src.problems import ProblemError, load_benchmark, load_data
from src.problems.benchmarks import repeated

ROWS = [
    {
        "unique_id": f"a/{i}",
        "question": f"What is {i}?",
        "answer": str(i),
        "subject": "Algebra",
        "level": 1 + i % 5,
    }
    for i in range(7)
]
FIELDS = FieldsConfig(id="unique_id", text="question", subject="subject", level="level")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BenchmarkConfig:
    """A folder is a data set to the library that loads those of the hub."""
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return BenchmarkConfig(name="SEVEN", kind="hub", dataset=str(folder), fields=FIELDS)


def test_a_data_set_of_the_hub(hub: BenchmarkConfig) -> None:
    problems = load_benchmark(hub)
    assert [(p.id, p.text, p.answer, p.subject, p.level) for p in problems] == [
        (row["unique_id"], row["question"], row["answer"], "Algebra", row["level"]) for row in ROWS
    ]
    assert {p.source for p in problems} == {"SEVEN"}
    assert [p.id for p in load_benchmark(replace(hub, size=2))] == ["a/0", "a/1"]
    without_ids = load_benchmark(replace(hub, fields=replace(FIELDS, id=None)))
    assert without_ids[0].id == "SEVEN-0"


def test_a_field_that_is_not_there_is_said_with_its_key(hub: BenchmarkConfig) -> None:
    with pytest.raises(
        ProblemError, match=r"set, row 1: field 'problem' is missing \(benchmark.fields.text=problem\)"
    ):
        load_benchmark(replace(hub, fields=replace(FIELDS, text="problem")))


@pytest.mark.parametrize("change", [{"split": "nope"}, {"subset": "nope"}, {"dataset": "./not/there"}])
def test_a_data_set_that_cannot_be_loaded_is_said_with_the_remedy(
    hub: BenchmarkConfig, change: dict[str, str]
) -> None:
    with pytest.raises(
        ProblemError, match=r"benchmark SEVEN: the data set .* cannot be loaded .*benchmark\.path=FILE"
    ):
        load_benchmark(replace(hub, **change))


@pytest.mark.parametrize(
    ("answer", "gold"),
    [("\\boxed{204}", "204"), ("$\\boxed{\\frac{1}{2}}$", "\\frac{1}{2}"), ("27", "27"), (27, "27"),
     ("so \\boxed{1}", "1"), (["27"], "27")],
)  # fmt: skip
def test_answers_in_a_box_are_taken_out(tmp_path: Path, answer: object, gold: str) -> None:
    path = tmp_path / "problems.jsonl"
    path.write_text(json.dumps({"problem": "?", "answer": answer}) + "\n")
    (problem,) = load_benchmark(BenchmarkConfig(kind="file", name="x", path=str(path)))
    assert problem.answer == gold


def test_repeated_problems_are_said(tmp_path: Path) -> None:
    """As in a file that has each problem as often as it is sampled."""
    path = tmp_path / "problems.jsonl"
    rows = [{"problem": f"What is ${n % 3} + 1$?" + " " * n, "answer": n % 3 + 1} for n in range(6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    problems = load_benchmark(BenchmarkConfig(kind="file", name="x", path=str(path)))
    assert repeated(problems).startswith("3 of 6 problems repeat the text of another one")
    assert repeated(problems[:3]) == ""
    held = DataConfig(kind="file", train_path=str(path), heldout=HeldoutConfig(benchmark=f"file@{path}"))
    assert "heldout: 3 of 6 problems repeat" in load_data(held).line
