"""status.json: what it says after each event, and how a run's end is told apart."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from src.run.interrupts import Interrupt
from src.run.status import RunStatus


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def read(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "status.json").read_text()))


def test_the_time_left_follows_from_the_steps_and_what_comes_after_them(tmp_path: Path) -> None:
    clock = Clock()
    with RunStatus(tmp_path, 10, step=2, clock=clock) as status:
        found = read(tmp_path)
        assert (found["state"], found["step"], found["steps"]) == ("running", 2, 10)
        assert found["seconds_left"] is None
        clock.now += 50  # an evaluation, which is no step
        status.begin_training(closing_seconds=7)
        for step, seconds in ((3, 4), (4, 8)):
            clock.now += seconds
            status.step(step, {"reward": 0.5, "entropy": math.nan}, [(step - 1, f"alarm {step}")])
        found = read(tmp_path)
        assert (found["step"], found["seconds_left"]) == (4, 6 * 6 + 7)
        assert found["metrics"] == {"reward": 0.5, "entropy": None}, "JSON has no nan"
        assert found["alarms"] == [{"step": 2, "message": "alarm 3"}, {"step": 3, "message": "alarm 4"}]
        assert found["activity"] == {"what": "training", "done": 4, "total": 10}
        status.finish()
    found = read(tmp_path)
    assert (found["state"], found["seconds_left"], found["error"]) == ("finished", 0, None)
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]


def test_an_accuracy_replaces_the_earlier_one_of_its_benchmark_and_mode(tmp_path: Path) -> None:
    with RunStatus(tmp_path, 3) as status:
        status.evaluated([{"benchmark": "a", "mode": mode, "accuracy": 0.1} for mode in ("free", "text")])
        status.evaluated([{"benchmark": "a", "mode": "free", "accuracy": 0.2}])
        found = {(one["benchmark"], one["mode"]): one["accuracy"] for one in read(tmp_path)["evaluations"]}
    assert found == {("a", "free"): 0.2, ("a", "text"): 0.1}


def test_progress_is_written_now_and_then_and_at_its_end(tmp_path: Path) -> None:
    clock = Clock()
    with RunStatus(tmp_path, clock=clock) as status:
        seen = []
        for done in (1, 2, 3, 4):
            clock.now += 3
            status.progress("evaluating", done, 4, left=4.0 - done)
            found = read(tmp_path)
            seen.append((found["activity"]["done"], found["seconds_left"]))
    assert seen == [(1, 3), (1, 3), (3, 1), (4, 0)]


@pytest.mark.parametrize(
    ("error", "state", "says"),
    [
        (Interrupt(15), "interrupted", None),
        (KeyboardInterrupt(), "interrupted", None),
        (None, "interrupted", None),  # a run that was stopped after a step returns
        (ValueError("no room"), "failed", "ValueError: no room"),
    ],
)
def test_a_run_that_ends_before_it_is_finished(
    tmp_path: Path, error: BaseException | None, state: str, says: str | None
) -> None:
    status = RunStatus(tmp_path, 3)
    status.__enter__()
    status.__exit__(type(error) if error else None, error, None)
    assert (read(tmp_path)["state"], read(tmp_path)["error"]) == (state, says)


def test_a_disk_that_fails_neither_ends_a_run_nor_hides_its_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    status = RunStatus(folder, 3)
    status.__enter__()
    (folder / "status.json").unlink()
    folder.rmdir()
    status.step(1, {})
    status.__exit__(ValueError, ValueError("the first"), None)
    assert not folder.exists()
    assert capsys.readouterr().out.count("status.json: cannot be written") == 1


def test_a_new_folder_is_made(tmp_path: Path) -> None:
    with RunStatus(tmp_path / "a" / "b"):
        assert read(tmp_path / "a" / "b")["state"] == "running"


def test_other_processes_write_nothing(tmp_path: Path) -> None:
    with RunStatus(tmp_path / "new", 3, write=False) as status:
        status.step(1, {})
        status.finish()
    assert list(tmp_path.iterdir()) == []
