"""Records on disk: whole lines, torn ends, versions, superseded attempts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from src.run.records import (
    ExecutionRecord,
    LineWriter,
    RecordError,
    RecordWriter,
    SegmentRecord,
    TrajectoryRecord,
    iter_records,
    last_attempt,
    read_metrics,
    read_records,
)

RECORD = TrajectoryRecord(
    phase="train",
    mode="free",
    step=0,
    attempt=0,
    sample=0,
    problem_id="p0",
    problem="1 + 1?",
    gold="2",
    subject="Algebra",
    level=1,
    source="fake",
    budget=2,
    prompt_tokens=5,
    segments=[SegmentRecord("policy", "\u4e2d\n\u2028 text", 3), SegmentRecord("tool", "\udcff", 2)],
    executions=[ExecutionRecord("ok", 0.1, None)],
    stop_reason="answered",
    dropped_tokens=0,
    answer="2",
    correct=True,
    rewards={"correctness": 1.0, "total": 1.0},
)


def write(path: Path, *records: TrajectoryRecord) -> None:
    with RecordWriter(path) as writer:
        writer.write_records(records)


def test_records_come_back_as_they_were_but_for_what_utf8_cannot_say(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    write(path, RECORD)
    said = [RECORD.segments[0], SegmentRecord("tool", "?", 2)]
    assert read_records(path) == [replace(RECORD, segments=said)]
    assert RECORD.tokens("policy") == 3


@pytest.mark.parametrize("torn", [1, 40, 10_000])
def test_a_torn_last_line_is_left_out_and_cut_off_before_the_next_append(tmp_path: Path, torn: int) -> None:
    path = tmp_path / "r.jsonl"
    write(path, RECORD, replace(RECORD, sample=1))
    whole = path.read_bytes()
    path.write_bytes(whole[: -min(torn, len(whole) // 2)])
    assert [r.sample for r in read_records(path)] == [0]
    write(path, replace(RECORD, sample=2))
    assert [r.sample for r in read_records(path)] == [0, 2]


def test_a_file_that_is_one_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"version": 1, "ph')
    assert read_records(path) == []
    write(path, RECORD)
    assert len(read_records(path)) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", r"r\.jsonl:2: not a trajectory record"),
        ("[]", r"r\.jsonl:2: not a trajectory record"),
        ('{"version": 99}', r"r\.jsonl:2: schema version 99, but this version reads 1"),
        ('{"version": 1, "phase": "train"}', r"r\.jsonl:2: not a trajectory record"),
    ],
)
def test_a_foreign_line_is_refused_by_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "r.jsonl"
    write(path, RECORD)
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(RecordError, match=message):
        read_records(path)


def test_later_attempts_supersede_from_their_first_step_on(tmp_path: Path) -> None:
    """Run to step 3; killed; resumed from step 1, killed in it; resumed from step 1 again."""
    path = tmp_path / "r.jsonl"
    for attempt, steps in enumerate([(0, 1, 2, 3), (1,), (1, 2)]):
        write(path, *(replace(RECORD, step=step, attempt=attempt) for step in steps))
    evaluation = replace(RECORD, phase="before", step=0)
    write(path, evaluation)
    kept = [(r.phase, r.step, r.attempt) for r in read_records(path)]
    assert kept == [("train", 0, 0), ("train", 1, 2), ("train", 2, 2), ("before", 0, 0)]
    assert last_attempt(path) == 2
    assert last_attempt(tmp_path / "none.jsonl") == -1


def test_metrics_are_superseded_alike(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    assert read_metrics(path) == []
    with LineWriter(path) as writer:
        writer.write({"step": step, "attempt": 0} for step in range(4))
        writer.write([{"step": 1, "attempt": 1}])
    with path.open("a") as file:
        file.write('{"step": 2')
    assert [(row["step"], row["attempt"]) for row in read_metrics(path)] == [(0, 0), (1, 1)]


def test_records_older_than_a_field_are_read(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    write(path, replace(RECORD, fabricated_output=True))
    row = json.loads(path.read_text())
    del row["fabricated_output"], row["correct_lenient"], row["grading_failure"]
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")
    assert [record.fabricated_output for record in read_records(path)] == [True, None]


def test_the_lenient_verdict_of_older_records_is_read(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    write(path, replace(RECORD, correct_lenient=True))
    path.write_text(path.read_text().replace('"correct_lenient"', '"lenient"'))
    assert [record.correct_lenient for record in read_records(path)] == [True]


def test_records_are_plain_json(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    write(path, RECORD)
    data = json.loads(path.read_text())
    assert data["version"] == 1
    execution = {"status": "ok", "seconds": 0.1, "error": None, "tool": "python", "code": None} | {
        "output": None
    }
    assert data["executions"] == [execution]


def test_older_records_are_read_and_their_results_are_a_tools(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    write(path, RECORD)
    data = json.loads(path.read_text())
    data["segments"] = [{"author": "sandbox", "text": "1", "tokens": 1}]
    data["executions"] = [{"status": "ok", "seconds": 0.1, "error": None}]
    path.write_text(json.dumps(data) + "\n")
    (record,) = iter_records(path)
    assert (record.segments[0].author, record.tokens("tool"), record.executions[0].code) == ("tool", 1, None)
