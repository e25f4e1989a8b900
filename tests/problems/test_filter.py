"""Problems are kept by pass rate: planted rates, shards, what does not fit, and a process that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.config import BenchmarkConfig, DataConfig, EvaluateConfig, FieldsConfig, HeldoutConfig, ModelConfig
from src.config.paths import ROOT
from src.config.schema import ConfigError
from src.problems import Problem, ProblemError, load_problems
from src.problems.difficulty import PassCount, histogram, tally, verdict
from src.problems.filter import FilterConfig, run
from src.run.intervals import wilson
from src.run.records import RecordWriter, TrajectoryRecord
from tests.run.test_records import RECORD

K = 8
# correct of K trajectories, by problem; the last two lack some
CORRECT = {"never": 0, "hard": 1, "half": 4, "easy": 7, "always": 8, "spoilt": 2, "unasked": 0}
SPOILT = {"spoilt": 5}
SUBJECTS = {"never": "Geometry", "always": "Algebra", "half": "Algebra"}


def problem(name: str) -> Problem:
    return Problem(name, f"What is {name}?", "2", SUBJECTS.get(name), 1, "set")


def records(names: Sequence[str], mode: str = "code") -> list[TrajectoryRecord]:
    """Return trajectories of the rates above, the correct ones last."""
    made = []
    for name in names:
        of = problem(name)
        for sample in range(K):
            one = replace(
                RECORD, phase="evaluate", mode=mode, sample=sample, problem_id=name, problem=of.text,
                gold=of.answer, subject=of.subject, correct=sample >= K - CORRECT[name],
            )  # fmt: skip
            if sample < SPOILT.get(name, 0):
                one = replace(one, stop_reason="infrastructure", correct=False)
            made.append(one)
    return made


def evaluation(folder: Path, names: Sequence[str], shard: str | None = None, **other: Any) -> Path:
    """Write what ``src.evaluate`` leaves."""
    path = folder.parent / "set.jsonl"
    rows = [asdict(problem(name)) for name in CORRECT]
    path.write_text("".join(json.dumps(row | {"question": row["text"]}) + "\n" for row in rows))
    fields = FieldsConfig(id="id", text="question", subject="subject", level="level")
    benchmark = BenchmarkConfig(name="SET", kind="file", path=str(path), fields=fields)
    folder.mkdir()
    cfg = {
        "model": asdict(ModelConfig(path="base")),
        "benchmark": asdict(benchmark),
        "evaluate": asdict(EvaluateConfig(modes=["code"], k=K, shard=shard)) | other,
        "engine": {"kind": folder.name},
    }
    (folder / "config.json").write_text(json.dumps(cfg))
    with RecordWriter(folder / "trajectories.jsonl") as writer:
        writer.write_records(records(names))
    return folder


ASKED = [name for name in CORRECT if name != "unasked"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return evaluation(tmp_path / "whole", ASKED)


def kept(out: Path) -> list[str]:
    return [json.loads(line)["id"] for line in (out / "problems.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.1, 0.9, ["hard", "half", "easy"]),
        (0.0, 1.0, ["never", "hard", "half", "easy", "always"]),
        (0.125, 0.125, ["hard"]),
        (0.2, 0.875, ["half", "easy"]),
        (0.9, 1.0, ["always"]),
        (0.0, 0.1, ["never"]),
    ],
)
def test_the_range_holds_its_ends(
    folder: Path, tmp_path: Path, low: float, high: float, expected: list[str]
) -> None:
    run(FilterConfig([str(folder)], low=low, high=high), tmp_path / "out")
    assert kept(tmp_path / "out") == expected


def test_the_report_counts_all(folder: Path, tmp_path: Path) -> None:
    report = run(FilterConfig([str(folder)]), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "filter.json").read_text()) == report
    assert report["counts"] == {"kept": 3, "too hard": 1, "too easy": 1, "unmeasured": 2}
    assert report["spoilt_trajectories"] == 5
    assert [(row["rate"], row["problems"], row["kept"]) for row in report["bins"]] == [
        (0.0, 1, 0), (0.125, 1, 1), (0.25, 0, 0), (0.375, 0, 0), (0.5, 1, 1), (0.625, 0, 0), (0.75, 0, 0),
        (0.875, 1, 1), (1.0, 1, 0),
    ]  # fmt: skip
    assert report["by_subject"] == {
        "Algebra": {"problems": 2, "kept": 1, "mean_pass_rate": 0.75},
        "Geometry": {"problems": 1, "kept": 0, "mean_pass_rate": 0.0},
        "none": {"problems": 4, "kept": 2, "mean_pass_rate": 0.5},
    }
    assert report["intervals"] == {"0 of 8": [0.0, 0.3244], "4 of 8": [0.2152, 0.7848]}
    (how,) = report["settings"]["evaluations"]
    assert (how["model"], how["k"], how["unfinished"]) == ("base", K, True)


def test_what_the_infrastructure_spoilt_is_no_failure(folder: Path, tmp_path: Path) -> None:
    """Two of three that count are correct: not two of eight."""
    run(FilterConfig([str(folder)], low=0.6, high=0.7, min_samples=3), tmp_path / "out")
    (row,) = map(json.loads, (tmp_path / "out" / "problems.jsonl").read_text().splitlines())
    assert (row["id"], row["pass_rate"], row["samples"]) == ("spoilt", 0.6667, 3)


def test_shards_are_the_whole(folder: Path, tmp_path: Path) -> None:
    parts = [evaluation(tmp_path / f"part{i}", ASKED[i::2], f"{i}/2") for i in range(2)]
    whole = run(FilterConfig([str(folder)]), tmp_path / "a")
    both = run(FilterConfig([str(part) for part in reversed(parts)]), tmp_path / "b")
    assert {**both, "settings": None} == {**whole, "settings": None}
    for name in ("problems.jsonl", "pass_rates.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_run_reads_what_is_written(folder: Path, tmp_path: Path) -> None:
    run(FilterConfig([str(folder)]), tmp_path / "out")
    cfg = DataConfig(
        kind="file", train_path=str(tmp_path / "out" / "problems.jsonl"), heldout=HeldoutConfig("set")
    )
    found = load_problems(cfg, "train")
    assert [(one.text, one.answer) for one in found] == [
        (problem(n).text, "2") for n in ("hard", "half", "easy")
    ]
    named = load_problems(replace(cfg, fields=FieldsConfig("id", subject="subject", level="level")), "train")
    assert [replace(one, source="set") for one in named] == [problem(n) for n in ("hard", "half", "easy")]


def test_the_figure_names_axes_and_range(folder: Path, tmp_path: Path) -> None:
    run(FilterConfig([str(folder)]), tmp_path / "out")
    assert (tmp_path / "out" / "pass_rates.png").read_bytes().startswith(b"\x89PNG")
    said = "".join(ElementTree.parse(tmp_path / "out" / "pass_rates.svg").getroot().itertext())
    named = ("problems (number)", "fraction of a problem's 8 trajectories", "4 of 8: 0.22 to 0.78")
    for part in (*named, "kept (3)", "base, mode code", "kept: 0.1 to 0.9; 2 without enough"):
        assert part in said


def test_only_the_mode_that_is_asked_for_counts(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "both", ["half"], modes=["code", "text"])
    with RecordWriter(folder / "trajectories.jsonl") as writer:
        writer.write_records(records(["always", "easy"], "text"))
    run(FilterConfig([str(folder)], mode="text"), tmp_path / "out")
    assert kept(tmp_path / "out") == ["easy"]
    with pytest.raises(ConfigError, match="mode=null: the evaluation has code or text; give mode=code"):
        run(FilterConfig([str(folder)]), tmp_path / "out")


def test_settings_that_do_not_fit_are_refused(folder: Path, tmp_path: Path) -> None:
    other = evaluation(tmp_path / "other", ASKED, budget=1)
    training = tmp_path / "training"
    training.mkdir()
    (training / "config.json").write_text('{"trainer": {}}')
    (training / "trajectories.jsonl").touch()
    for cfg, says in (
        (FilterConfig([]), "folders=.*: no folder is given"),
        (FilterConfig([str(tmp_path)]), "has no config.json"),
        (FilterConfig([str(training)]), "training is not an evaluation"),
        (FilterConfig([str(folder), str(other)]), "other was made with evaluate.budget=1, .*whole with"),
        (FilterConfig([str(folder)], mode="text"), "mode=text: choose code"),
        (FilterConfig([str(folder)], low=0.9, high=0.1), "low=0.9: above high=0.1"),
        (FilterConfig([str(folder)], min_samples=9), "min_samples=9: the evaluation has evaluate.k=8"),
        (FilterConfig([str(folder)], path="nope.jsonl"), "path=nope.jsonl: this file does not exist"),
    ):
        with pytest.raises(ConfigError, match=says):
            run(cfg, tmp_path / "out")
    for cfg, says in (
        (FilterConfig([str(folder)], low=0.2, high=0.3), "none of 7 problems is left"),
        (FilterConfig([str(folder), str(folder)]), "trajectory 0 of problem never is repeated"),
    ):
        with pytest.raises(ProblemError, match=says):
            run(cfg, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_problems_that_have_changed_since_are_said(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    text = path.read_text()
    path.write_text(text.replace("What is half?", "What is a half?"))
    with pytest.raises(ProblemError, match="problem half of the records is not among the problems"):
        run(FilterConfig([str(folder)]), tmp_path / "out")
    (tmp_path / "moved.jsonl").write_text(text)
    run(FilterConfig([str(folder)], path=str(tmp_path / "moved.jsonl")), tmp_path / "out")


KILLED = """
import json, os, signal, sys
from pathlib import Path
from src.problems import filter as module
from src.problems import files

dumps, calls = json.dumps, []

def killed(*args, **kwargs):
    calls.append(1)
    if len(calls) > 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return dumps(*args, **kwargs)

if sys.argv[3] == "rows":
    files.json.dumps = killed
else:
    module.write_json = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
module.run(module.FilterConfig([sys.argv[1]]), Path(sys.argv[2]))
"""


@pytest.mark.parametrize("moment", ["rows", "report"])
def test_killed_in_the_middle_it_leaves_no_half_file(folder: Path, tmp_path: Path, moment: str) -> None:
    out = tmp_path / "out"
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder), str(out), moment],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    whole = {path.name for path in out.iterdir() if path.suffix != ".partial"}
    assert whole == (set() if moment == "rows" else {"problems.jsonl", "pass_rates.png", "pass_rates.svg"})
    run(FilterConfig([str(folder)]), out)
    assert kept(out) == ["hard", "half", "easy"]
    assert not list(out.glob("*.partial"))


def test_the_command(folder: Path, tmp_path: Path) -> None:
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "src.problems.filter", *arguments, "hydra.run.dir=out"],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
            timeout=60,
        )  # fmt: skip

    ended = command(f"folders=[{folder}]", "low=0.2")
    assert ended.returncode == 0, ended.stderr
    assert "of 7 problems: 2 kept" in ended.stdout
    assert kept(tmp_path / "out") == ["half", "easy"]
    refused = command("low=2")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 3)
    assert "folders: this value is mandatory" in refused.stderr


@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(0, 20), st.booleans()), max_size=30),
    st.integers(2, 20),
)
def test_the_histogram_counts_each_at_the_nearest_rate(found: list[tuple[int, int, bool]], bins: int) -> None:
    tallies = [(PassCount(n, min(c, n)), is_kept) for n, c, is_kept in found]
    rows = histogram(tallies, bins)
    assert sum(row["problems"] for row in rows) == len(tallies)
    assert sum(row["kept"] for row in rows) == sum(is_kept for _, is_kept in tallies)
    assert rows[0]["problems"] == sum(one.correct == 0 for one, _ in tallies)
    assert rows[-1]["problems"] == sum(one.correct == one.samples for one, _ in tallies)
    for one, is_kept in tallies:
        (at,) = (row["rate"] for row in histogram([(one, is_kept)], bins) if row["problems"])
        assert abs(at - one.rate) <= 0.5 / bins + 1e-9 or (
            0 < one.rate < 1 and abs(at - one.rate) <= 1 / bins
        )


def test_verdicts_and_intervals() -> None:
    assert verdict(PassCount(0, 0), 0, 1, 1) == "unmeasured"
    assert verdict(PassCount(8, 0), 0, 0, 8) == "kept"
    assert [verdict(PassCount(8, c), 0.25, 0.5, 1) for c in (1, 2, 4, 5)] == [
        "too hard",
        "kept",
        "kept",
        "too easy",
    ]
    assert wilson(0, 32, 0.95) == pytest.approx((0.0, 0.1072), abs=1e-4)


def test_a_record_of_no_such_problem_is_said() -> None:
    with pytest.raises(ProblemError, match="problem half of the records"):
        tally([problem("never")], records(["half"]))
