"""analysis.watch: what it shows of a run that is running, has ended, was killed, or is no run."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from analysis import live, live_view, watch
from analysis.data import AnalysisError
from src.config.paths import ROOT
from src.run import folder_lock
from src.run.records import RecordWriter, SegmentRecord, TrajectoryRecord
from src.run.status import RunStatus
from tests.run.test_records import RECORD


def metrics(folder: Path, steps: int) -> None:
    rows = [{"step": step, "attempt": 0, "reward": step - 1.0, "entropy": None} for step in range(steps)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write(folder: Path, *records: TrajectoryRecord) -> None:
    with RecordWriter(folder / "trajectories.jsonl") as writer:
        writer.write_records(records)


def shown(folder: Path, lines: int = 16) -> str:
    console = Console(width=150, file=open(os.devnull, "w"), record=True)  # noqa: SIM115
    frame = watch.look(watch.WatchConfig(run=str(folder)))
    console.print(live_view.show(frame, ["reward", "entropy", "no_such"], lines))
    console.file.close()
    return console.export_text()


def test_a_running_run(tmp_path: Path) -> None:
    folder_lock.take(tmp_path)
    try:
        with RunStatus(tmp_path, 8) as status:
            metrics(tmp_path, 3)
            write(tmp_path, RECORD, replace(RECORD, problem_id="the last one"))
            status.begin_training()
            status.step(3, {}, [(2, "alarm collapse at step 2: entropy is low")])
            status.evaluated(
                [
                    {
                        "step": 0,
                        "benchmark": "heldout",
                        "mode": "free",
                        "accuracy": 0.5,
                        "interval": [0.25, 0.75],
                    }
                ]
            )
            text = shown(tmp_path)
    finally:
        folder_lock.release(tmp_path)
    assert "running  step 3 of 8  training  0 s left" in text
    assert "38%" in text
    assert "▁▄█" in text.replace("▅", "▄")
    (row,) = [line for line in text.splitlines() if "reward" in line and "▁" in line]
    assert row.split()[2:] == ["-1", "1", "-1", "1"]
    assert "entropy  " not in text, "without a value there is no curve"
    assert "50.0 % [25.0, 75.0]" in text
    assert "alarm collapse at step 2" in text
    assert "the last one" in text


def test_a_run_that_says_it_runs_but_holds_no_lock_was_killed(tmp_path: Path) -> None:
    with RunStatus(tmp_path, 8):
        found = json.loads((tmp_path / "status.json").read_text())
    (tmp_path / "status.json").write_text(json.dumps(found | {"updated": "2020-01-01T00:00:00+00:00"}))
    assert live.read_frame(tmp_path).state == "killed"
    assert "the run was killed" in shown(tmp_path)
    (tmp_path / "lock").touch()
    assert live.read_frame(tmp_path).state == "killed", "a file that a killed process left is no lock"
    (tmp_path / "lock").unlink()
    folder_lock.take(tmp_path)
    assert live.read_frame(tmp_path).state == "running"
    folder_lock.release(tmp_path)


def test_a_failed_run_says_why(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="x"), RunStatus(tmp_path, 8):
        raise ValueError("the engine [red]\x1b[2Jx")
    text = shown(tmp_path)
    assert "failed  step 0 of 8" in text
    assert r"ValueError: the engine [red]\x1b[2Jx" in text


def test_an_older_run_has_curves_and_no_state(tmp_path: Path) -> None:
    metrics(tmp_path, 2)
    assert "unknown  2 steps" in shown(tmp_path)


@pytest.mark.parametrize("size", [1, 1 << 20, 3 << 20])
def test_the_last_whole_record_is_found_whatever_its_length(tmp_path: Path, size: int) -> None:
    long = replace(RECORD, problem_id="long", segments=[SegmentRecord("policy", "x" * size, 1)])
    write(tmp_path, RECORD, long)
    file = tmp_path / "trajectories.jsonl"
    with file.open("ab") as torn:
        torn.write(json.dumps(asdict(replace(RECORD, problem_id="torn"))).encode()[:-9])
    found = live.last_record(file)
    assert found is not None
    assert (found.problem_id, len(found.segments[0].text)) == ("long", size)
    write(tmp_path, replace(RECORD, problem_id="next"))  # a writer removes the torn line
    found = live.last_record(file)
    assert found is not None
    assert found.problem_id == "next"


def test_no_record_is_none(tmp_path: Path) -> None:
    assert live.last_record(tmp_path / "nowhere") is None
    (tmp_path / "empty").touch()
    assert live.last_record(tmp_path / "empty") is None


def test_a_hostile_trajectory_does_not_command_the_terminal(tmp_path: Path) -> None:
    hostile = "a\x1b[2J\x07\x9b31m\u202eb\r\x00 [bold]c[/bold] {}\n" * 40
    write(
        tmp_path, replace(RECORD, segments=[SegmentRecord("policy", hostile, 1)], problem_id="\x1b]0;t\x07")
    )
    with RunStatus(tmp_path, 8):
        text = shown(tmp_path, lines=3)
    assert not [one for one in text if one != "\n" and (ord(one) < 32 or 127 <= ord(one) < 160)]
    assert "\u202e" not in text
    assert r"a\x1b[2J\x07\x9b31m\u202eb\r\x00 [bold]c[/bold] {}" in text
    assert "... 38 lines before" in text


@pytest.mark.parametrize(
    ("values", "curve"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7], "▁▂▃▄▅▆▇█"),
        ([1.0, None, float("nan"), 2.0], "▁  █"),
        ([5.0, 5.0], "▄▄"),
        ([None], " "),
        ([], ""),
        ([0.0] * 40 + [1.0] * 40, "▁" * 20 + "█" * 20),
    ],
)
def test_sparklines(values: list[float | None], curve: str) -> None:
    assert live_view.sparkline(values) == curve


@pytest.mark.parametrize(
    ("run", "says"),
    [("nowhere", "run=nowhere: this folder does not exist"),
     ("conf", "run=conf: contains neither status.json nor metrics.jsonl")],
)  # fmt: skip
def test_what_is_no_run_is_refused(run: str, says: str) -> None:
    with pytest.raises(AnalysisError, match=says):
        watch.look(watch.WatchConfig(run=run))


def test_it_follows_a_run_to_its_end_in_a_terminal(tmp_path: Path) -> None:
    """The command, in a terminal of its own: it redraws, and ends once the run has ended."""
    folder_lock.take(tmp_path)
    leader, follower = pty.openpty()
    folders = set((ROOT / "runs").glob("*/*"))
    status = RunStatus(tmp_path, 8)
    status.__enter__()
    process = subprocess.Popen(
        [sys.executable, "-m", "analysis.watch", f"run={tmp_path}", "every=0.1"],
        cwd=ROOT, stdin=follower, stdout=follower, stderr=follower, env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(follower)
    output = bytearray()
    seen = threading.Event()
    reader = threading.Thread(target=_read, args=(leader, output, seen))
    reader.start()
    try:
        assert seen.wait(120), output.decode(errors="replace")
        metrics(tmp_path, 2)
        status.step(2, {})
        status.finish()
        assert process.wait(120) == 0, output.decode(errors="replace")
    finally:
        process.kill()
        reader.join()
        os.close(leader)
        folder_lock.release(tmp_path)
    text = output.decode(errors="replace")
    assert "step 0 of 8" in text
    assert text.index("running") < text.rindex("finished")
    assert "step 2 of 8" in text
    assert set((ROOT / "runs").glob("*/*")) == folders, "it makes no folder"


def _read(leader: int, output: bytearray, seen: threading.Event) -> None:
    while True:
        try:
            data = os.read(leader, 65536)
        except OSError:  # the other end is closed
            return
        if not data:
            return
        output += data
        if b"running" in output:
            seen.set()


def test_once_shows_one_frame(tmp_path: Path) -> None:
    with RunStatus(tmp_path, 8):
        metrics(tmp_path, 1)
        done = _command(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "running  step 0 of 8" in done.stdout


def _command(folder: Path) -> Any:
    return subprocess.run(
        [sys.executable, "-m", "analysis.watch", f"run={folder}", "once=true"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
