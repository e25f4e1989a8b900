"""experiments/repeatable/check.py on small written runs."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.repeatable.check import compare, main
from src.run.records import ExecutionRecord, LineWriter, RecordError, SegmentRecord, TrajectoryRecord
from tests.run.test_records import RECORD, write

SEGMENTS = [SegmentRecord("policy", "so\n```python\nx\n```", 5), SegmentRecord("tool", "NameError", 3)]
ERROR = ExecutionRecord("error", 0.1, "NameError")
RUN = [
    replace(RECORD, phase=phase, step=step, sample=sample, segments=SEGMENTS, executions=[ERROR])
    for phase, step in (("before", 0), ("train", 0), ("train", 1), ("after", 2))
    for sample in range(3)
]
METRICS = [{"step": step, "attempt": 0, "reward": 0.5, "seconds/step": 1.0} for step in range(2)]


def made(folder: Path, records: list[TrajectoryRecord] = RUN, rows: list[dict[str, float]] = METRICS) -> Path:
    write(folder / "trajectories.jsonl", *records)
    with LineWriter(folder / "metrics.jsonl") as writer:
        writer.write(rows)
    return folder


def test_order_times_and_attempts_do_not_count(tmp_path: Path) -> None:
    later = [replace(one, attempt=1, executions=[replace(ERROR, seconds=9.0)]) for one in RUN[::-1]]
    rows = [row | {"attempt": 1, "seconds/step": 2.0, "engine/stragglers": 1.0} for row in METRICS]
    same, first = compare(made(tmp_path / "a"), made(tmp_path / "b", later, rows))
    assert same == "12 of 12 trajectories and the metrics of 2 of 2 steps are the same"
    assert first is None


def test_older_records_lack_prompts_and_groups(tmp_path: Path) -> None:
    new = [replace(one, prompt="1 + 1?\n", group=2) for one in RUN]
    timed = [replace(one, segments=[replace(s, seconds=2.0) for s in one.segments]) for one in new]
    assert compare(made(tmp_path / "old"), made(tmp_path / "new", timed))[1] is None
    other = compare(tmp_path / "new", made(tmp_path / "b", [replace(one, prompt="1 + 2?\n") for one in new]))[
        1
    ]
    assert other is not None
    assert "prompt differ" in other


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"segments": [replace(SEGMENTS[0], text="so\n```python\ny\n```"), SEGMENTS[1]]},
         'differ from character 23 on: "<policy 5>so\\n```python\\nx\\n```<tool 3>NameError" and "<pol'),
        ({"segments": [replace(SEGMENTS[0], tokens=6), SEGMENTS[1]]}, "\"<policy 5>so\\n```py"),
        ({"executions": []}, "executions differ from character 1 on: "),
        ({"executions": [replace(ERROR, error="KeyError")]}, "\"[('error', 'NameError')]\" and"),
        ({"answer": None}, 'answer differ from character 0 on: "2" and "None"'),
        ({"correct": False}, "correct differ"),
        ({"rewards": {"correctness": 1.0, "total": 1.0 + 1e-15}}, "rewards differ"),
        ({"dropped_tokens": 1}, "dropped_tokens differ"),
    ],
)  # fmt: skip
def test_the_first_difference_is_shown(tmp_path: Path, change: dict[str, object], says: str) -> None:
    other = [replace(one, **change) if one.step >= 1 else one for one in RUN]  # type: ignore[arg-type]
    same, first = compare(made(tmp_path / "a"), made(tmp_path / "b", other))
    assert same.startswith("6 of 12 trajectories and the metrics of 2 of 2 ")
    assert first is not None
    assert first.startswith('step 1, train, mode free, problem p0 ("1 + 1?"), sample 0: ')
    assert says in first


def test_what_only_one_run_has_is_a_difference(tmp_path: Path) -> None:
    whole, part = made(tmp_path / "a"), made(tmp_path / "b", RUN[:-1], METRICS[:1])
    assert compare(whole, part)[1] == (
        'step 2, after, mode free, problem p0 ("1 + 1?"), sample 2: only in the first run'
    )
    twice = made(tmp_path / "c", [*RUN, RUN[-1]])  # as dynamic sampling may draw a problem again
    assert "sample 2: only in the second run" in str(compare(whole, twice)[1])
    shorter = made(tmp_path / "d", rows=METRICS[:1])
    assert compare(whole, shorter)[1] == "metrics of step 1: step is 1 and None"


def test_metrics_are_compared_too_and_nan_is_like_nan(tmp_path: Path) -> None:
    nan = [row | {"loss": float("nan")} for row in METRICS]
    one, two = made(tmp_path / "a", rows=nan), made(tmp_path / "b", rows=nan)
    assert compare(one, two)[1] is None
    three = made(tmp_path / "c", rows=[nan[0], nan[1] | {"reward": 0.25}])
    assert compare(one, three) == (
        "12 of 12 trajectories and the metrics of 1 of 2 steps are the same",
        "metrics of step 1: reward is 0.5 and 0.25",
    )


def test_nothing_is_not_the_same_as_nothing(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"trajectories\.jsonl: there are no trajectories; give the folder"):
        compare(made(tmp_path / "a", []), made(tmp_path / "b", []))
    with pytest.raises(RecordError, match="nope"):
        compare(made(tmp_path / "c"), tmp_path / "nope")


def test_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, other = made(tmp_path / "a"), made(tmp_path / "b", RUN[1:])
    monkeypatch.setattr(sys, "argv", ["check", str(run), str(run)])
    main()
    assert "12 of 12 trajectories" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["check", str(run), str(other)])
    with pytest.raises(SystemExit, match="sample 0: only in the first run"):
        main()
    assert "11 of 12 trajectories" in capsys.readouterr().out
