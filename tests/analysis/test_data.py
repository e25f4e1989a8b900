"""From records to the table: nothing lost, nothing made up, foreign lines said, caches never stale."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from analysis import arms, data, record_table
from analysis.config import AnalysisConfig
from analysis.data import AnalysisError, Source, load, load_arms
from experiments.analysis import synthetic
from src.config.schema import ConfigError, build
from src.run.records import (
    ExecutionRecord,
    LineWriter,
    RecordError,
    RecordWriter,
    SegmentRecord,
    read_records,
)
from tests.run.test_records import RECORD


@pytest.fixture
def file(tmp_path: Path) -> Path:
    synthetic.write(tmp_path, problems=8, samples=6)
    return tmp_path / "base" / "trajectories.jsonl"


def rows(table: pl.DataFrame) -> list[dict[str, object]]:
    return table.sort("mode", "problem_id", "sample", "attempt").to_dicts()


def test_the_table_says_what_the_records_say(file: Path) -> None:
    records = {(r.mode, r.problem_id, r.sample): r for r in read_records(file)}
    table = load(file, code=True)
    assert table.height == len(records) == 96
    for row in table.iter_rows(named=True):
        record = records[row["mode"], row["problem_id"], row["sample"]]
        assert row["policy_tokens"] == record.tokens("policy")
        assert row["feedback_tokens"] == record.tokens("tool")
        assert row["policy_chars"] == sum(len(s.text) for s in record.segments if s.author == "policy")
        assert row["statuses"] == [e.status for e in record.executions]
        assert row["errors"] == [e.error for e in record.executions]
        assert row["executions"] == len(record.executions)
        assert row["failed"] == sum(e.status != "ok" for e in record.executions)
        assert (row["correct"], row["answer"], row["level"]) == (record.correct, record.answer, record.level)
        assert len(row["code"]) == len(record.executions)
        assert all(code.startswith(("import math", "from sympy")) for code in row["code"])


def test_texts_are_those_of_the_records(tmp_path: Path) -> None:
    file = tmp_path / "trajectories.jsonl"
    said = [SegmentRecord("policy", "so \u202e\n", 3), SegmentRecord("tool", "4\n", 2, "python")]
    ran = [ExecutionRecord("ok", 0.1, None, code="print(4)", output="4\n" * 900)]
    new = replace(RECORD, segments=said, executions=ran, prompt="<s>What?", group=3)
    with RecordWriter(file) as writer:
        writer.write_records(
            [new, replace(RECORD, sample=1, attempt=RECORD.attempt + 1), replace(new, sample=2)]
        )
    old = {key: value for key, value in asdict(RECORD).items() if key not in ("prompt", "group")}
    with LineWriter(file) as lines:
        lines.write([old | {"sample": 7, "attempt": RECORD.attempt + 1}])
    for record, row in zip(read_records(file), load(file, texts=True).to_dicts(), strict=True):
        assert [row[name] for name in ("problem", "gold", "prompt", "group")] == [
            *(record.problem, record.gold, record.prompt, record.group)
        ]
        kept = [(one.author, one.text, one.tokens) for one in record.segments]
        assert [(one["author"], one["text"], one["tokens"]) for one in row["segments"]] == kept
        assert row["outputs"] == [one.output for one in record.executions]
    assert not set(record_table.TEXTS) & set(load(file).columns)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("so\n```python\nprint(1)\n```", "print(1)"),
        ("```py\na\nb\n```", "a\nb"),
        ("```python\nx = 1\n```\nand\n```Py\ny = 2\n```\n", "y = 2"),
        ("```python\nx = 1\n```\nand\n```python3\ny = 2\n```\n", "y = 2"),
        ("no program", None),
        ("```python\nprint(1", "print(1"),  # the closing token was replaced by the sandbox's
    ],
)
def test_the_code_is_the_last_block_of_the_segment(tmp_path: Path, text: str, code: str | None) -> None:
    record = replace(
        RECORD,
        segments=[SegmentRecord("policy", text, 9), SegmentRecord("tool", "\n```output\n1\n```\n", 4),
                  SegmentRecord("policy", "```python\nnot run\n``` \\boxed{1}", 5)],
        executions=[ExecutionRecord("ok", 0.1, None)],
    )  # fmt: skip
    with RecordWriter(tmp_path / "r.jsonl") as writer:
        writer.write_records([record])
    assert load(tmp_path / "r.jsonl", code=True)["code"].to_list() == [[code]]


def test_the_infrastructures_failures_are_nobodys(tmp_path: Path) -> None:
    executions = [ExecutionRecord("ok", 0.1, None), ExecutionRecord("infrastructure", 0.0, "worker died")]
    spoilt = replace(RECORD, executions=executions, stop_reason="infrastructure", rewards=None)
    with RecordWriter(tmp_path / "trajectories.jsonl") as writer:
        writer.write_records([spoilt, replace(RECORD, sample=1)])
    table = load(tmp_path / "trajectories.jsonl")
    assert table.sort("sample")["executions"].to_list()[0] == 1
    assert table.sort("sample")["failed"].to_list()[0] == 0
    assert load_arms({"one": f"{tmp_path}@{RECORD.phase}"}).height == 1


def test_what_a_resumed_run_superseded_is_left_out_as_readers_of_records_do(tmp_path: Path) -> None:
    file = tmp_path / "trajectories.jsonl"
    steps = [(0, 0), (1, 0), (2, 0), (3, 0), (2, 1), (3, 1), (3, 2), (4, 2)]
    with RecordWriter(file) as writer:
        for phase in ("train", "other"):
            writer.write_records(
                replace(RECORD, phase=phase, step=step, attempt=attempt)
                for step, attempt in (steps if phase == "train" else steps[:4])
            )
    expected = sorted((r.phase, r.step, r.attempt) for r in read_records(file))
    assert sorted(load(file).select("phase", "step", "attempt").rows()) == expected


def test_of_a_run_that_was_evaluated_twice_the_last_policy_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was resumed after its end, with more steps: the records have both evaluations after training."""
    first = replace(RECORD, phase="after", step=4, attempt=0)
    with RecordWriter(tmp_path / "trajectories.jsonl") as writer:
        writer.write_records([first, replace(first, step=5, attempt=1), replace(first, phase="train")])
    assert load_arms({"one": f"{tmp_path}@after"})["step"].to_list() == [5]
    assert "evaluated at the steps 4, 5; the last is used" in " ".join(capsys.readouterr().out.split())
    assert load_arms({"one": f"{tmp_path}@train"})["step"].to_list() == [4]
    one = arms.Run("one", tmp_path, 0, [], {})
    assert arms._after(one, first.mode) == {first.problem_id: (float(first.correct), 1)}


def test_processes_that_make_the_same_table_do_not_meet(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Analyses of the same records may run beside each other."""
    expected = load(file).height
    data._cached(file).unlink()
    write = pl.DataFrame.write_parquet

    def overtaken(table: pl.DataFrame, path: Path, **options: Any) -> None:
        """Another process makes the table while this one writes it."""
        write(table, path, **options)
        monkeypatch.setattr(pl.DataFrame, "write_parquet", write)
        monkeypatch.setattr(os, "getpid", lambda: 0)
        assert load(file).height == expected

    monkeypatch.setattr(pl.DataFrame, "write_parquet", overtaken)
    assert load(file).height == expected
    assert [path.name for path in data._cached(file).parent.iterdir()] == [data._cached(file).name]


def test_pieces_of_any_size_give_the_same(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rows(load(file, code=True))
    for size in (100, 3000, 20_000):
        monkeypatch.setattr(record_table, "_CHUNK", size)
        data._cached(file).unlink()
        assert rows(load(file, code=True)) == whole


def test_a_torn_last_line_is_left_out_and_said(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = load(file).height
    assert "torn" not in capsys.readouterr().out
    with file.open("ab") as handle:
        handle.write(b'{"version": 1, "pha')
    assert load(file).height == whole
    assert f"{file}:97: ignored: incomplete line" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("no json", "not a trajectory record"),
        ('{"some": "thing"}', "not a trajectory record"),
        ("[1, 2]", "not a trajectory record"),
        ("", "not a trajectory record"),
        (json.dumps(asdict(RECORD) | {"version": 99}), "schema version 99"),
        (json.dumps(asdict(RECORD) | {"step": "five"}), "records, but"),
        (json.dumps({k: v for k, v in asdict(RECORD).items() if k != "mode"}), "not a trajectory record"),
    ],
)
def test_a_foreign_line_is_said_by_file_and_line(file: Path, line: str, says: str) -> None:
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines[:40], line + "\n", *lines[40:]]))
    with pytest.raises(RecordError, match=f"{file}.*{says}") as caught:
        load(file)
    assert says == "records, but" or f"{file}:41:" in str(caught.value)


def test_separators_in_texts_do_not_count_as_lines(tmp_path: Path) -> None:
    file = tmp_path / "trajectories.jsonl"
    with RecordWriter(file) as writer:
        writer.write_records([replace(RECORD, problem="a\u2028b\x85c\x1ed")] * 3)
    with file.open("a") as handle:
        handle.write('{"some": "thing"}\n')
    with pytest.raises(RecordError, match=f"{file}:4: not a trajectory record"):
        load(file)


def test_the_cache_is_used_and_never_stale(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = rows(load(file, code=True))
    parse = record_table._parse
    monkeypatch.setattr(record_table, "_parse", lambda *_: pytest.fail("parsed again"))
    assert rows(load(file, code=True)) == first
    assert "code" not in load(file).columns
    monkeypatch.setattr(record_table, "_parse", parse)
    text = file.read_text()
    file.write_text(text.replace('"correct": false', '"correct": true'))
    assert load(file)["correct"].all()
    assert len(list(data._cached(file).parent.glob("*.parquet"))) == 1, "old tables are removed"


def test_sources_and_phases(tmp_path: Path) -> None:
    with RecordWriter(tmp_path / "trajectories.jsonl") as writer:
        writer.write_records(
            replace(RECORD, phase=phase, mode=mode, correct=phase == "after")
            for phase in ("before", "train", "after") for mode in ("text", "code")
        )  # fmt: skip
    table = load_arms({"base": f"{tmp_path}@before", "rl": f"{tmp_path}/trajectories.jsonl@after"})
    assert table["arm"].unique().sort().to_list() == ["base_text", "base_code", "rl_text", "rl_code"]
    assert table.filter(pl.col("policy") == "rl")["correct"].all()
    assert load_arms({"x": f"{tmp_path}@train"}, ["code"])["arm"].to_list() == ["x_code"]
    empty = tmp_path / "begun.jsonl"
    empty.touch()
    for policies, modes, says in (
        ({}, None, "policies={}: no policy is given"),
        ({"x": str(empty)}, None, "policies.x=.*begun.jsonl: there are no trajectories in it yet"),
        ({"x": str(tmp_path)}, None, "have the phases after, before, train; choose one"),
        ({"x": f"{tmp_path}@nope"}, None, "have the phases"),
        ({"x": str(tmp_path / "nope")}, None, "this records file does not exist"),
        ({"x": f"{tmp_path}@after"}, ["free"], "the records of these policies have none of these modes"),
    ):
        with pytest.raises(AnalysisError, match=says):
            load_arms(policies, modes)


def test_a_policy_of_several_runs(tmp_path: Path) -> None:
    for name, modes in {"text": ["text"], "tools": ["code", "free"], "both": ["code", "text"]}.items():
        with RecordWriter(tmp_path / name / "trajectories.jsonl") as writer:
            writer.write_records(replace(RECORD, phase="after", mode=mode) for mode in modes)
    parts = [str(tmp_path / "text"), f"{tmp_path}/tools@after"]
    table = load_arms({"base": str(tmp_path / "both"), "rl": parts})
    assert table.sort("arm")["arm"].to_list() == ["base_text", "base_code", "rl_free", "rl_text", "rl_code"]
    assert load_arms({"rl": [parts[0], str(tmp_path / "both")]}, ["code"])["arm"].to_list() == ["rl_code"]
    with pytest.raises(AnalysisError, match=r"policies.rl: .*text and .*both both have records of mode text"):
        load_arms({"rl": [parts[0], str(tmp_path / "both")]})
    with pytest.raises(AnalysisError, match=r"policies.rl=.*nope: the records have the phases"):
        load_arms({"rl": [f"{parts[0]}@nope"]})
    with pytest.raises(AnalysisError, match="policies: no policy has records"):
        load_arms({"rl": []})
    found = data.settings(AnalysisConfig(policies={"base": parts[0], "rl": parts}))
    assert found["runs"]["base"]["records"] == f"{parts[0]}/trajectories.jsonl"
    assert [one["records"] for one in found["runs"]["rl"]] == [
        f"{tmp_path}/text/trajectories.jsonl", f"{tmp_path}/tools/trajectories.jsonl"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("policies", "says"),
    [
        ({"a": "x", "b": ["y", 2024]}, None),
        ({"a": ["x", ["y"]]}, r"policies.a\[1\]=\[y\]: expected text \(str\), got a list"),
        ({"a": {"b": "c"}}, r"policies.a=\{b:c\}: expected text \(str\), got a group of keys"),
        ({"a": True}, "policies.a=true: expected text"),
        ({"a": None}, "policies.a=null: expected text"),
    ],
)
def test_a_source_is_text_or_a_list_of_texts(policies: dict[str, object], says: str | None) -> None:
    if says is None:
        assert build(AnalysisConfig, {"policies": policies}).policies == {"a": "x", "b": ["y", "2024"]}
    else:
        with pytest.raises(ConfigError, match=says):
            build(AnalysisConfig, {"policies": policies})


def test_settings_of_the_run_travel_with_its_numbers(tmp_path: Path) -> None:
    with RecordWriter(tmp_path / "trajectories.jsonl") as writer:
        writer.write_records([RECORD])
    (tmp_path / "summary.json").write_text(json.dumps({"settings": {"commit": "abc", "k": 16}}))
    assert Source.parse(f"{tmp_path}@after").settings() == {
        "commit": "abc", "k": 16, "records": str(tmp_path / "trajectories.jsonl"), "phase": "after"
    }  # fmt: skip
