"""Runs under faults: the plan repeats, each fault does what it says, and what does not hold is found."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from experiments.reliability import chaos, checks, plot, runs
from experiments.reliability.faults import FAULTS
from experiments.reliability.runs import SUBJECTS, DisturbedRun
from src.run import checkpoints
from tests import tiny

BUSY = "import time\nwhile True: time.sleep(0.05)"


class Lowest(random.Random):
    """Tears a checkpoint, too."""

    def random(self) -> float:
        return 0.0


class TestPlan:
    def test_a_seed_repeats_it_and_another_does_not(self) -> None:
        subjects, kinds = ["transformers", "two"], list(FAULTS)
        first, again, other = (list(islice(chaos.plan(s, subjects, kinds), 30)) for s in (3, 3, 4))
        assert first == again != other
        assert {one.subject for one in first} == set(subjects)
        assert {fault for one in first for fault in one.faults} == set(kinds)

    def test_a_torn_last_line_of_results_is_left_out(self, tmp_path: Path) -> None:
        file = tmp_path / "campaign.jsonl"
        file.write_text('{"number": 0, "outcomes": ["went on", "not reached"]}\n{"number": 1, "outc')
        known = chaos.read(file)
        assert list(known) == [0]
        assert chaos.applied(known.values()) == 1


@pytest.fixture
def run(tmp_path: Path) -> Iterator[DisturbedRun]:
    """A run that is some Python process with a child."""
    (tmp_path / "run").mkdir()
    one = DisturbedRun(SUBJECTS["transformers"], tmp_path / "run", 0)
    child = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {BUSY!r}])\n{BUSY}"
    one.process = subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
    one.roots.append((one.process.pid, runs.started(one.process.pid)))
    assert runs.wait_until(lambda: len(runs.below([one.process.pid])) == 2, 20)  # type: ignore[union-attr]
    yield one
    one.close()
    assert not one.alive()
    with contextlib.suppress(ProcessLookupError):  # a child whose parent was killed
        os.killpg(one.process.pid, signal.SIGKILL)


class TestFaults:
    @pytest.mark.parametrize(("name", "code"), [("kill -9 trainer", -9), ("SIGTERM trainer", -15)])
    def test_a_signal_ends_the_trainer(self, run: DisturbedRun, name: str, code: int) -> None:
        assert FAULTS[name].apply(run, random.Random(0))
        assert run.wait(20) == code

    def test_a_stopped_trainer_goes_on(self, run: DisturbedRun) -> None:
        assert FAULTS["stop trainer"].apply(run, random.Random(0))
        assert run.process is not None
        assert runs.wait_until(lambda: runs._stat(run.process.pid)[0] in "SR", 20)  # type: ignore[union-attr]
        assert run.wait(0.1) is None

    def test_without_workers_and_graders_nothing_is_met(self, run: DisturbedRun) -> None:
        for name in ("kill -9 worker", "stop worker", "kill -9 inside a sandbox", "kill -9 grader"):
            assert not FAULTS[name].apply(run, random.Random(0))

    def test_a_full_disk_takes_nothing_more_and_is_freed(
        self, run: DisturbedRun, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("experiments.reliability.faults._FULL", 0.3)
        assert FAULTS["full disk"].apply(run, random.Random(0)) == run.mounted
        assert list((run.base / "disk").iterdir()) == []

    def test_torn_files_are_cut_and_the_trainer_dead(self, run: DisturbedRun) -> None:
        newest = run.folder / "checkpoints" / "step-1"
        newest.mkdir(parents=True)
        (newest / "model").write_bytes(bytes(1000))
        (newest / checkpoints.MARK).write_text(json.dumps({"step": 1, "files": {"model": 1000}}))
        records = run.folder / "trajectories.jsonl"
        records.write_text("{}\n")
        assert FAULTS["torn files"].apply(run, Lowest())
        assert run.wait(20) == -9
        assert not records.read_text().endswith("\n")
        assert checkpoints.damage(newest) == "model"
        assert checkpoints.complete(run.folder / "checkpoints") == []

    def test_the_clock_jumps_and_the_disk_is_slow(self, run: DisturbedRun) -> None:
        program = """
import os, time
began = time.monotonic()
os.replace('x', 'x')
print(time.time(), time.monotonic() - began)
"""
        (run.base / "x").write_text("")
        (run.hooks / "clock").write_text("86400")
        (run.hooks / "slow").write_text("0.3")
        said = subprocess.run(
            [sys.executable, "-c", program],
            cwd=run.base,
            env={"PYTHONPATH": str(runs.HOOKS), "CHAOS_HOOKS": str(run.hooks)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        assert float(said[0]) - time.time() > 86000
        assert float(said[1]) > 0.29


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one step."""
    folder = tmp_path_factory.mktemp("calm") / "run"
    tiny_run(folder)
    return folder


def tiny_run(folder: Path) -> None:
    from src.experiment.training import run as train

    cfg = tiny.config(steps=1, checkpoint_every=1)
    cfg.tracking.mode = "none"
    cfg.data.train_size = cfg.data.heldout_size = 4
    cfg.evaluate.modes, cfg.evaluate.phases = ["free"], ["after"]
    train(cfg, folder)


def test_a_process_that_has_the_number_of_one_that_ended_is_left_alone(run: DisturbedRun) -> None:
    assert run.process is not None
    assert runs.wait_until(lambda: len(run.alive()) == 2, 10)
    run.kill()
    assert run.process.wait(10) != 0
    # as if this process had the number now, having started at another time
    run.roots[:] = [(os.getpid(), "0")]
    run.seen.clear()
    run.process.pid = os.getpid()
    assert (run.trainers(), run.workers(), run.inside(), run.graders()) == ([], [], [], [])
    time.sleep(3 * runs._LOOK)
    assert run.alive() == []


class TestChecks:
    def test_a_copy_of_the_calm_run_is_fine(self, finished: Path) -> None:
        assert checks.consumed_once(finished, finished) == []
        assert checks.same_checkpoint(finished, finished) == []
        assert checks.same_weights(finished, finished) == []
        assert checks.same_trajectories(finished, finished) == []

    def test_a_problem_that_was_consumed_twice_or_not_at_all(self, finished: Path, tmp_path: Path) -> None:
        other = tmp_path / "run"
        shutil.copytree(finished, other)
        lines = (other / "trajectories.jsonl").read_text().splitlines(keepends=True)
        (other / "trajectories.jsonl").write_text("".join([*lines, lines[-1]]))
        assert "was consumed 2 times, in the calm run 1" in checks.consumed_once(other, finished)[0]
        (other / "trajectories.jsonl").write_text("".join(lines[:-1]))
        assert "was consumed 0 times, in the calm run 1" in checks.consumed_once(other, finished)[0]
        (other / "trajectories.jsonl").write_text("no record\n")
        assert "cannot be read" in checks.consumed_once(other, finished)[0]

    def test_a_step_that_was_logged_twice(self, finished: Path, tmp_path: Path) -> None:
        other = tmp_path / "run"
        shutil.copytree(finished, other)
        line = (other / "metrics.jsonl").read_text().splitlines(keepends=True)[-1]
        (other / "metrics.jsonl").write_text(line * 2)
        assert "the steps in metrics.jsonl are [0, 0]" in checks.consumed_once(other, finished)[0]

    def test_a_changed_weight_and_a_missing_checkpoint(self, finished: Path, tmp_path: Path) -> None:
        other = tmp_path / "run"
        shutil.copytree(finished, other)
        file = other / "checkpoints" / "step-1" / "model.safetensors"
        weights = load_file(file)
        name = sorted(weights)[0]
        weights[name] = weights[name] + np.float32(1e-6)
        save_file(weights, file)
        mark = json.loads((file.parent / checkpoints.MARK).read_text())
        mark["files"]["model.safetensors"] = file.stat().st_size
        (file.parent / checkpoints.MARK).write_text(json.dumps(mark))
        assert checks.same_checkpoint(other, finished) == []
        assert "1 of " in checks.same_weights(other, finished)[0]
        shutil.rmtree(file.parent)
        assert checks.same_checkpoint(other, finished) == ["the last checkpoint is [], not ['step-1']"]

    def test_a_process_and_a_folder_that_are_left(
        self, run: DisturbedRun, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(checks, "_SETTLING", 0.3)
        assert run.process is not None
        assert runs.wait_until(lambda: len(run.alive()) == 2, 10)
        folder = Path("/dev/shm") / f"sandbox-{run.process.pid}-test"
        folder.mkdir()
        found = checks.left_over(run)
        folder.rmdir()
        assert len([text for text in found if text.startswith("process ")]) == 2
        assert found[-1] == f"{folder.name} is left in /dev/shm"


def test_the_figure(tmp_path: Path) -> None:
    kinds = list(FAULTS)
    outcomes = ["went on", "resumed", "violation", "not reached"]
    one = {"subject": "two", "faults": kinds[:4], "outcomes": outcomes, "seconds": 9.0, "calm_seconds": 3.0}
    plot.draw([one], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"chaos.png", "chaos.svg"}
    assert plot.counts([one])[kinds[2]] == {"violation": 1}
