"""The main job's path as a user runs it: files, summary, records; killed and resumed."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from src.config import Config
from src.config.composition import compose
from src.config.paths import ROOT
from src.config.schema import ConfigError
from src.experiment.training import run
from src.launch import checks
from src.run.evaluations import read_points
from src.run.records import TrajectoryRecord, read_metrics, read_records
from tests.wandb_file import history

SMALL = ["+experiment=mini_debug", "data.heldout_size=6"]


def start(run_dir: Path, *overrides: str, start_new_session: bool = False) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "src.train", *SMALL, f"hydra.run.dir={run_dir}", *overrides]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=start_new_session,
    )  # fmt: skip


def wait_for_steps(run_dir: Path, steps: int, process: subprocess.Popen[str]) -> None:
    """Wait until so many steps are done, and the run goes on."""
    deadline = time.monotonic() + 240
    while len(read_metrics(run_dir / "metrics.jsonl")) < steps:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def said_in(records: list[TrajectoryRecord]) -> list[Any]:
    """What each trajectory says, in an order that does not depend on when it ended."""
    return sorted(
        (r.phase, r.mode, r.step, r.problem_id, r.sample, r.budget, "".join(s.text for s in r.segments))
        for r in records
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def load(path: Path) -> Any:
    return json.loads(path.read_text())


def children(pid: int) -> set[int]:
    """Every living descendant of a process."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it ended meanwhile
            parents[int(entry.name)] = int(fields[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A whole run of four steps, and what it printed."""
    run_dir = tmp_path_factory.mktemp("whole")
    return run_dir, finish(
        start(run_dir, "trainer.steps=4", "curriculum.stages=[{step:0,budget:2},{step:2,budget:3}]")
    )


def test_summary(whole: tuple[Path, str]) -> None:
    run_dir, printed = whole
    summary = load(run_dir / "summary.json")
    for phase in ("before", "after"):
        for mode in ("free", "code", "text"):
            result = summary[phase][mode]
            low, high = result["interval"]
            assert 0 <= low <= result["accuracy"] <= high <= 1
            assert result["n"] == 6 == sum(group["n"] for group in result["by_subject"].values())
        assert summary[phase]["text"]["metrics"]["executions_per_trajectory"] == 0
    assert summary["steps"] == 4
    assert set(summary["seconds"]) == {"generation", "execution", "grading", "update"}
    assert 0 < sum(summary["seconds"].values()) < summary["wall_seconds"]
    needed = {
        "commit",
        "config_hash",
        "model",
        "benchmark",
        "k",
        "temperature",
        "top_p",
        "seed",
        "max_tokens",
    }
    assert needed <= set(summary["settings"])
    assert "95 % intervals" in printed
    assert "sandbox: " in printed


def test_files(whole: tuple[Path, str]) -> None:
    run_dir, _ = whole
    assert load(run_dir / "config.json")["trainer"]["steps"] == 4
    assert "torch==" in (run_dir / "packages.txt").read_text()
    assert (run_dir / "difference.patch").exists()
    status = load(run_dir / "status.json")
    assert (status["state"], status["step"], status["steps"], status["error"]) == ("finished", 4, 4, None)
    assert {(one["step"], one["mode"]) for one in status["evaluations"]} == {
        (4, mode) for mode in ("free", "code", "text")
    }
    (logged,) = run_dir.glob("wandb/offline-run-*")
    rows = history(logged)
    evaluated = {row["eval/step"]: row["eval/heldout/free/accuracy"] for row in rows if "eval/step" in row}
    summary = load(run_dir / "summary.json")
    assert evaluated == {0: summary["before"]["free"]["accuracy"], 4: summary["after"]["free"]["accuracy"]}
    trained = [row for row in rows if "train/step" in row]
    tables = [load(logged / "files" / row["train/samples/path"]) for row in trained]
    for step, (row, table) in enumerate(zip(trained, tables, strict=True)):
        assert row["train/step"] == step
        shown = [dict(zip(table["columns"], one, strict=True)) for one in table["data"]]
        assert len({one["problem_id"] for one in shown}) == 8, "not one group alone"
        assert {(one["step"], one["phase"]) for one in shown} == {(step, "train")}
        assert any(one["advantage"] > 0 for one in shown if one["correct"])
    metrics = read_metrics(run_dir / "metrics.jsonl")
    assert [row["train/reward"] for row in trained] == [row["reward"] for row in metrics]
    assert [(row["step"], row["budget"]) for row in metrics] == [(0, 2), (1, 2), (2, 3), (3, 3)]
    records = read_records(run_dir / "trajectories.jsonl")
    assert Counter((r.phase, r.mode) for r in records) == {
        ("train", "free"): 4 * 32,
        **{(phase, mode): 6 for phase in ("before", "after") for mode in ("free", "code", "text")},
    }
    assert sum(bool(r.executions) for r in records) > 20
    assert not {r.problem for r in records if r.phase == "train"} & {
        r.problem for r in records if r.phase == "before"
    }


def test_graded_again_with_the_same_settings_nothing_flips(whole: tuple[Path, str], tmp_path: Path) -> None:
    run_dir, _ = whole
    printed = regrade(run_dir, tmp_path / "new")
    assert "no flip" in printed
    assert (tmp_path / "new" / "flips.jsonl").read_text() == ""
    for name in ("trajectories.jsonl", "config.json"):
        assert load_any(tmp_path / "new" / name) == load_any(run_dir / name)
    ours, theirs = load(tmp_path / "new" / "summary.json"), load(run_dir / "summary.json")
    for phase in ("before", "after"):
        assert ours[phase] == theirs[phase]
    assert read_points(tmp_path / "new") == read_points(run_dir)
    assert not any(sum(group["changed"].values()) for group in ours["groups"])


def test_graded_again_with_another_grader_what_it_judges_otherwise_is_listed(
    whole: tuple[Path, str], tmp_path: Path
) -> None:
    """One answer of the run is replaced by a rounded one, which only math-verify accepts."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    shutil.copy(whole[0] / "config.json", run_dir)
    rows = load_any(whole[0] / "trajectories.jsonl")
    (index, planted) = next((i, row) for i, row in enumerate(rows) if row["phase"] == "train")
    planted |= {"gold": r"\frac{1}{3}", "answer": "0.333333", "correct": False, "correct_lenient": False}
    planted["segments"] = [
        {"author": "policy", "text": r"It is $\boxed{0.333333}$.", "tokens": 9, "tool": None, "seconds": 0.5}
    ]
    planted["rewards"] = {"correctness": -1.0, "total": -1.0}
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (run_dir / "trajectories.jsonl").write_text(text)
    printed = regrade(run_dir, tmp_path / "new", "reward.grader=math_verify")
    assert "1 flips" in printed
    assert "reward.grader=math_verify; it was exact" in printed
    (flip,) = load_any(tmp_path / "new" / "flips.jsonl")
    reason = "the answer '0.333333' to '\\\\frac{1}{3}' is accepted by math_verify, it was not by exact"
    assert flip == {
        "file": "trajectories.jsonl",
        **{key: planted[key] for key in ("phase", "mode", "step", "attempt", "problem_id", "sample", "gold")},
        "changed": ["correct", "correct_lenient"],
        "reason": reason,
        "answer": ["0.333333", "0.333333"],
        "correct": [False, True],
        "correct_lenient": [False, True],
        "grading_failure": [None, None],
        "rewards": [planted["rewards"], {"correctness": 1.0, "total": 1.0}],
    }
    assert (run_dir / "trajectories.jsonl").read_text() == text, "the old records stay"
    new = load_any(tmp_path / "new" / "trajectories.jsonl")
    changed = {"correct": True, "correct_lenient": True, "rewards": {"correctness": 1.0, "total": 1.0}}
    assert new == [row | (changed if i == index else {}) for i, row in enumerate(rows)]


def regrade(run_dir: Path, out: Path, *overrides: str) -> str:
    """Grade a run again; return what was printed."""
    command = [sys.executable, "-m", "src.regrade", f"run={run_dir}", f"hydra.run.dir={out}", *overrides]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def load_any(path: Path) -> Any:
    """The content of a JSON file, or the lines of a JSON Lines file."""
    if path.suffix == ".json":
        return load(path)
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.long
def test_the_phases_that_are_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a whole run, and of one that is resumed with others: what was evaluated stays."""
    monkeypatch.chdir(ROOT)
    small = (*SMALL, "tracking=none", "evaluate.modes=[free]", "evaluate.k=2", "trainer.batch_size=16")

    def phases(folder: str, asked: str, steps: int, *overrides: str) -> tuple[list[str], set[str]]:
        overrides = (*small, f"evaluate.phases=[{asked}]", f"trainer.steps={steps}", *overrides)
        cfg = checks.load(Config, compose("train", Config, list(overrides)))
        summary = run(cfg, tmp_path / folder)
        assert summary == load(tmp_path / folder / "summary.json")
        assert summary["steps"] == steps
        found = [name for name in ("before", "after") if name in summary]
        assert all(summary[name]["free"]["n"] == 12 for name in found)
        return found, {r.phase for r in read_records(tmp_path / folder / "trajectories.jsonl")}

    assert phases("a", "before", 1) == (["before"], {"before", "train"})
    resume = f"trainer.resume={tmp_path / 'a'}"
    assert phases("a", "after", 2, resume) == (["before", "after"], {"before", "train", "after"})
    assert phases("b", "after", 1) == (["after"], {"train", "after"})
    config = (tmp_path / "b" / "config.json").read_text()
    with pytest.raises(ConfigError, match=r"evaluate.phases=\[before,after\]: .*b was not evaluated before"):
        phases("b", "before,after", 2, f"trainer.resume={tmp_path / 'b'}")
    assert (tmp_path / "b" / "config.json").read_text() == config


@pytest.mark.long
def test_a_new_run_is_not_written_among_the_checkpoints_of_another(whole: tuple[Path, str]) -> None:
    run_dir, _ = whole
    before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*") if ".hydra" not in path.parts}
    process = start(run_dir, "trainer.steps=5", "tracking=none")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert f"contains checkpoints of an earlier run; resume it with trainer.resume={run_dir}" in output
    changed = {path for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert {path.name for path in changed} <= {"train.log"}


@pytest.mark.long
def test_killed_and_resumed_run_is_the_whole_run(whole: tuple[Path, str], tmp_path: Path) -> None:
    run_dir, _ = whole
    stages = "curriculum.stages=[{step:0,budget:2},{step:2,budget:3}]"
    process = start(tmp_path / "killed", "trainer.steps=4", stages)
    wait_for_steps(tmp_path / "killed", 3, process)
    orphans = children(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 20
    while alive := {pid for pid in orphans if Path(f"/proc/{pid}/exe").exists()}:
        assert time.monotonic() < deadline, f"left running: {alive}"
        time.sleep(0.1)
    printed = finish(
        start(tmp_path / "resumed", "trainer.steps=4", stages, f"trainer.resume={tmp_path / 'killed'}")
    )
    assert "evaluating before" not in printed

    ours, theirs = (read_records(one / "trajectories.jsonl") for one in (tmp_path / "resumed", run_dir))
    assert said_in(ours) == said_in(theirs)
    summary, wanted = load(tmp_path / "resumed" / "summary.json"), load(run_dir / "summary.json")
    for phase in ("before", "after"):
        for mode, result in summary[phase].items():
            assert result["accuracy"] == wanted[phase][mode]["accuracy"]
    assert summary["steps"] == 4
    assert len(read_metrics(tmp_path / "resumed" / "metrics.jsonl")) == 4


@pytest.mark.long
def test_interrupted_it_ends_with_a_checkpoint_and_the_command_that_goes_on(
    whole: tuple[Path, str], tmp_path: Path
) -> None:
    """As a terminal sends Ctrl-C: to all processes of the run. The command makes it the whole run."""
    stages = "curriculum.stages=[{step:0,budget:2},{step:2,budget:3}]"
    run_dir = tmp_path / "run"
    few = ("trainer.checkpoint_every=0", "tracking=none")
    process = start(run_dir, "trainer.steps=4", stages, *few, start_new_session=True)
    wait_for_steps(run_dir, 1, process)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    done = len(read_metrics(run_dir / "metrics.jsonl"))
    assert done in (1, 2, 3), "it was stopped in between, by the end of a step"
    assert [path.name for path in (run_dir / "checkpoints").iterdir()] == [f"step-{done}"]
    assert "Traceback" not in output
    assert output.count("stopping after this step, with a checkpoint") == 1
    last = output.rstrip().splitlines()[-1]
    said, _, command = last.partition(" with: ")
    assert said == f"interrupted; it goes on from step {done}"
    assert command == f"python -m src.train trainer.resume={run_dir}"
    assert not (run_dir / "summary.json").exists()
    status = load(run_dir / "status.json")
    assert (status["state"], status["step"]) == ("interrupted", done)
    folders = set((ROOT / "runs").glob("*/*"))
    resumed = subprocess.run(
        [sys.executable, *shlex.split(command)[1:]], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert f"resuming {run_dir} from step {done} of 4" in resumed.stdout
    assert "it was" not in resumed.stdout, "nothing is another setting"
    assert set((ROOT / "runs").glob("*/*")) == folders, "no other folder"
    records = read_records(run_dir / "trajectories.jsonl")
    assert said_in(records) == said_in(read_records(whole[0] / "trajectories.jsonl"))
    assert load(run_dir / "config.json")["trainer"]["learning_rate"] == 3e-4


@pytest.mark.long
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_before_training_it_ends_at_once(number: int, code: int, tmp_path: Path) -> None:
    process = start(
        tmp_path, "tracking=none", "data.heldout_size=400", "evaluate.k=9", start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "trajectories.jsonl").exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, number)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == code, output
    assert "Traceback" not in output
    assert output.rstrip().splitlines()[-1] == (
        "interrupted before the first checkpoint: there is nothing to go on from, start it anew"
    )
    assert read_metrics(tmp_path / "metrics.jsonl") == []
