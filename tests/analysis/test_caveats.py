"""What is said beside numbers that something has biased, and that nothing is said of the others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.caveats import caveats
from analysis.data import Source, load, load_arms
from src.experiment.evaluation.results import Results
from src.run.console import comparison
from src.run.records import ExecutionRecord, RecordWriter, SegmentRecord, TrajectoryRecord
from tests.run.test_records import RECORD

RAN = ExecutionRecord("ok", 0.1, None)
WHOLE = [
    replace(
        RECORD, phase="evaluate", sample=i, seed=i, straggler=False, executions=[RAN] * (i % 2),
        segments=[SegmentRecord("policy", "x", 50)],
    )
    for i in range(20)
]  # fmt: skip


def write(folder: Path, records: list[TrajectoryRecord], rollout: dict[str, float] | None) -> Path:
    """An evaluation's folder; ``rollout`` is what its last process counted, None: it has not finished."""
    with RecordWriter(folder / "trajectories.jsonl") as writer:
        writer.write_records(records)
    if rollout is not None:
        summary = {"settings": {}, "results": {"free": {"rollout": rollout}}}
        (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def counted(executions: int, tokens: float) -> dict[str, float]:
    seconds = {"seconds/generation": 8.0, "seconds/execution": 2.0}
    return {**seconds, "engine/tokens_per_second": tokens / 10, "sandbox/executions": float(executions)}


def said(folder: Path) -> list[str]:
    file = folder / "trajectories.jsonl"
    return caveats(file, load(file))


@pytest.mark.parametrize("seeded", [True, False])
def test_nothing_is_said_of_a_whole_evaluation(tmp_path: Path, seeded: bool) -> None:
    """Also of an older one whose only process sampled all of it."""
    records = WHOLE if seeded else [replace(one, seed=None) for one in WHOLE]
    assert said(write(tmp_path, records, counted(10, 1000))) == []


@pytest.mark.parametrize(("executions", "tokens"), [(9, 1000), (10, 900)])
def test_an_older_evaluation_whose_last_process_did_a_part_of_it_is_told(
    tmp_path: Path, executions: int, tokens: float
) -> None:
    """With streams of their own the same counts mean nothing: what is resumed is the whole."""
    older = [replace(one, seed=None) for one in WHOLE]
    (told,) = said(write(tmp_path / "older", older, counted(executions, tokens)))
    assert "interrupted and resumed by a version that resampled unfinished trajectories" in told
    assert said(write(tmp_path / "now", WHOLE, counted(executions, tokens))) == []


def test_an_unfinished_evaluation_is_told_and_a_training_run_is_not(tmp_path: Path) -> None:
    (told,) = said(write(tmp_path / "evaluation", WHOLE, None))
    assert "has not finished, and trajectories that end early are over-represented" in told
    assert said(write(tmp_path / "run", [replace(one, phase="before") for one in WHOLE], None)) == []


def test_stragglers_and_losses_are_told_wherever_numbers_are_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    late = [replace(one, straggler=one.sample < 3) for one in WHOLE]
    late[-1] = replace(late[-1], stop_reason="infrastructure", rewards=None)
    folder = write(tmp_path, late, counted(10, 1000))
    expected = [
        "3 of 20 trajectories, the longest, were ended by rollout.max_seconds: accuracies and token counts "
        "are biased downwards",
        "1 of 20 trajectories were lost to the infrastructure and are left out",
    ]
    assert said(folder) == expected
    assert load_arms({"base": str(folder)}).height == 19
    shown = " ".join(capsys.readouterr().out.split())
    assert all(one in shown for one in expected)
    settings: dict[str, Any] = Source.parse(str(folder)).settings()
    assert settings["caveats"] == expected
    results = Results()
    for record in late:
        results.add(record)
    twice = Results()
    twice.merge(results)
    twice.merge(results)
    assert {name: results.summary()[name] for name in ("stragglers", "infrastructure", "n")} == {
        "stragglers": 3,
        "infrastructure": 1,
        "n": 19,
    }
    assert twice.summary()["stragglers"] == 6
    caption = str(comparison({"after": {"free": results.summary()}}).caption)
    assert "after, free: 3 trajectories, the longest, were ended by rollout.max_seconds" in caption
    assert "after, free: 1 trajectories were lost to the infrastructure" in caption
    clean = Results()
    clean.add(WHOLE[0])
    assert comparison({"after": {"free": clean.summary()}}).caption is None
