"""``evaluate.every`` and ``evaluate.benchmarks``: accuracy over training, interrupted and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from analysis.evaluation_curves import draw_points, load_points, summary_rows
from src.config import Config, EvaluateConfig, PeriodicBenchmarkConfig
from src.config.composition import compose
from src.config.paths import ROOT
from src.experiment.evaluation import periodic
from src.experiment.training import run
from src.launch import checks
from src.run.console import evaluation_curve
from src.run.evaluations import read_points
from src.run.interrupts import Interrupts
from src.run.processes import Ranks
from src.run.records import RankWriter, iter_records, read_metrics

SMALL = ["+experiment=mini_debug", "tracking=none", "data.heldout_size=5", "evaluate.modes=[free]",
         "trainer.batch_size=16", "trainer.checkpoint_every=0", "trainer.steps=5"]  # fmt: skip


def overrides(folder: Path) -> list[str]:
    """Two benchmarks beside the held-out problems: one greedy, one with two samples in two modes."""
    file = folder / "own.jsonl"
    rows = [{"problem": f"What is ${n} + {n}$?", "answer": str(2 * n)} for n in range(3)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = f"{{benchmark:{file},k:2,modes:[free,code]}}"
    return [
        *SMALL,
        "evaluate.every=2",
        f"evaluate.benchmarks=[{{benchmark:mini,size:4,temperature:0}},{own}]",
    ]


def config(folder: Path, *more: str) -> Config:
    return checks.load(Config, compose("train", Config, [*overrides(folder), *more]))


def said(folder: Path) -> dict[str, list[Any]]:
    """What the policy said in each evaluation, by folder."""
    return {
        str(file.relative_to(folder).parent): sorted(
            (r.mode, r.problem_id, r.sample, r.step, *(s.text for s in r.segments))
            for r in iter_records(file)
        )
        for file in sorted((folder / "evaluations").rglob("trajectories.jsonl"))
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    run(config(folder), folder / "run")
    return folder / "run"


@pytest.mark.long
def test_every_benchmark_at_every_point(whole: Path) -> None:
    summary = json.loads((whole / "summary.json").read_text())
    points = {(p["step"], p["benchmark"], p["mode"]): p for p in summary["evaluations"]}
    modes = {"heldout": ["free"], "mini": ["free"], "own.jsonl": ["free", "code"]}
    expected = {(step, name, mode) for step in (0, 2, 4, 5) for name in modes for mode in modes[name]}
    assert set(points) == expected
    assert len(summary["evaluations"]) == len(expected), "nothing twice"
    assert {(p["benchmark"], p["n"], p["problems"]) for p in points.values()} == {
        ("heldout", 5, 5), ("mini", 4, 4), ("own.jsonl", 6, 3),
    }  # fmt: skip
    for phase, step in (("before", 0), ("after", 5)):
        assert points[step, "heldout", "free"]["accuracy"] == summary[phase]["free"]["accuracy"]
    records = said(whole)
    assert Counter(map(len, records.values())) == {4: 4, 12: 4, 5: 2}
    assert all(len(set(rows)) == len(rows) for rows in records.values())
    found = json.loads((whole / "evaluations/step-2/mini/summary.json").read_text())
    assert (found["settings"]["temperature"], found["settings"]["benchmark"]) == (0, "mini")


@pytest.mark.long
def test_training_is_what_it_is_without(whole: Path, tmp_path: Path) -> None:
    """Evaluations take no random numbers from training, and change no weight."""
    cfg = checks.load(Config, compose("train", Config, [*SMALL, "evaluate.phases=[after]"]))
    run(cfg, tmp_path / "run")
    ours, theirs = (
        [
            [row[name] for name in ("step", "reward", "grad_norm")]
            for row in read_metrics(one / "metrics.jsonl")
        ]
        for one in (whole, tmp_path / "run")
    )
    assert ours == theirs
    file = Path("checkpoints") / "step-5" / "model.safetensors"
    weights = [(one / file).read_bytes() for one in (whole, tmp_path / "run")]
    assert weights[0] == weights[1]


@pytest.mark.long
def test_interrupted_in_an_evaluation_it_goes_on_there(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the second benchmark at step 2, some trajectories are there; none is sampled twice."""
    write = RankWriter.write_records

    def interrupted(self: RankWriter, records: Any) -> None:
        records = list(records)
        if "step-2/own.jsonl" in self._file.name and len(records) > 2:
            write(self, records[:2])
            raise KeyboardInterrupt
        write(self, records)

    cfg = config(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(RankWriter, "write_records", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(cfg, tmp_path / "run")
    assert [one.name for one in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-2"], "saved first"
    left = said(tmp_path / "run")
    assert len(left["evaluations/step-2/own.jsonl"]) == 2
    kept = (tmp_path / "run/evaluations/step-2/mini/trajectories.jsonl").read_bytes()
    run(config(tmp_path, f"trainer.resume={tmp_path / 'run'}"), tmp_path / "run")
    assert said(tmp_path / "run") == said(whole)
    assert (tmp_path / "run/evaluations/step-2/mini/trajectories.jsonl").read_bytes() == kept
    assert accuracies(tmp_path / "run") == accuracies(whole)


def accuracies(folder: Path) -> list[Any]:
    return [(p.step, p.benchmark, p.mode, p.result["accuracy"]) for p in read_points(folder)]


@pytest.mark.long
def test_killed_in_an_evaluation_it_goes_on_there(whole: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "src.train"]
    process = subprocess.Popen(
        [*command, *overrides(tmp_path),
         "trainer.micro_batch_size=8", f"hydra.run.dir={tmp_path / 'run'}"], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    place, deadline = tmp_path / "run" / "evaluations" / "step-4", time.monotonic() + 240
    while not place.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (place / "own.jsonl" / "summary.json").exists(), "it was killed too late"
    resumed = subprocess.run(
        [*command, f"trainer.resume={tmp_path / 'run'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "from step 4 of 5" in resumed.stdout
    assert said(tmp_path / "run") == said(whole)
    assert accuracies(tmp_path / "run") == accuracies(whole)


@pytest.mark.long
def test_two_processes_share_each_evaluation(whole: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2",
         "--main_process_port", "0", "--config_file", str(ROOT / "conf/accelerate/ddp.yaml"),
         "-m", "src.train", *overrides(tmp_path),
         "trainer.micro_batch_size=8", f"hydra.run.dir={tmp_path / 'run'}"],
        cwd=ROOT, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list((tmp_path / "run").rglob("trajectories-process-*"))
    ours, theirs = said(tmp_path / "run"), said(whole)
    assert {name: [row[:4] for row in rows] for name, rows in ours.items()} == {
        name: [row[:4] for row in rows] for name, rows in theirs.items()
    }
    first = "evaluations/step-0/own.jsonl"
    assert ours[first] == theirs[first], "the same policy says the same"


def test_evaluations_of_later_steps_are_made_again(tmp_path: Path) -> None:
    origin, run_dir = tmp_path / "origin", tmp_path / "run"
    for step in (0, 2, 4):
        (origin / "evaluations" / f"step-{step}" / "mini").mkdir(parents=True)
    checkpoint = origin / "checkpoints" / "step-2"
    checkpoint.mkdir(parents=True)
    (checkpoint / "complete.json").write_text('{"step": 2, "files": {}}')

    (run_dir / "evaluations" / "step-2" / "mini").mkdir(parents=True)
    (run_dir / "evaluations" / "step-2" / "mini" / "summary.json").write_text("{}")

    def steps(folder: Path) -> set[str]:
        return {one.name for one in (folder / "evaluations").iterdir()}

    periodic.take_over(checkpoint, run_dir, unchanged=False)
    assert (steps(run_dir), steps(origin)) == ({"step-0", "step-2"}, {"step-0", "step-2", "step-4"})
    assert list((run_dir / "evaluations" / "step-2" / "mini").iterdir()) == [], "not of an earlier attempt"
    periodic.take_over(checkpoint, origin, unchanged=False)
    assert steps(origin) == {"step-0", "step-2"}
    (origin / "evaluations" / "step-0" / "mini" / "summary.json").write_text("{}")
    periodic.take_over(checkpoint, origin, unchanged=False, forced=True)
    begun = [origin / "evaluations" / f"step-{step}" / "mini" for step in (0, 2)]
    assert [one.exists() for one in begun] == [True, False], "half of it may have been sampled otherwise"
    periodic.take_over(None, origin, unchanged=True)
    assert steps(origin) == {"step-0"}, "the evaluation before training goes on"
    periodic.take_over(None, origin, unchanged=False)
    assert steps(origin) == set(), "other settings: nothing of it counts"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"benchmark": "math500"}, (1, 0.0, 1.0, 5)),
        ({"benchmark": "aime24"}, (16, 0.7, 0.95, 5)),
        ({"benchmark": "aime24", "k": 2, "temperature": 0.3, "budget": 1}, (2, 0.3, 0.95, 1)),
        ({"benchmark": "mini"}, (3, 0.7, 0.9, 4)),
        ({"benchmark": "some.jsonl", "top_p": 1.0}, (3, 0.7, 1.0, 4)),
    ],
)
def test_a_benchmark_is_sampled_as_given_else_as_its_option_says(
    given: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    evaluate = EvaluateConfig(k=3, temperature=0.7, top_p=0.9)
    found = periodic.sampling(evaluate, PeriodicBenchmarkConfig(**given))
    assert (found.k, found.temperature, found.top_p, found.budget) == expected


def test_the_recognised_fields_of_a_benchmark_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = config(tmp_path)
    cfg.evaluate.benchmarks = cfg.evaluate.benchmarks[1:]
    encoder: Any = SimpleNamespace(lengths=lambda problems, modes: [1] * len(problems))
    (found,) = periodic.read_benchmarks(cfg, encoder, Ranks())
    assert found.fields == {"text": "problem", "answer": "answer"}
    assert "own.jsonl: fields recognised: text=problem, answer=answer" in capsys.readouterr().out


def test_benchmarks_are_not_trained_on() -> None:
    cfg = Config()
    cfg.data.clean.against = ["aime24"]
    cfg.evaluate.benchmarks = [PeriodicBenchmarkConfig("aime24"), PeriodicBenchmarkConfig("math500")]
    assert periodic.without_benchmarks(cfg).clean.against == ["aime24", "math500"]


def test_a_signal_ends_an_evaluation_at_once_and_a_step_at_its_end() -> None:
    signals = Interrupts()
    with signals.deferred():
        signals._handle(signal.SIGTERM, None)
        assert signals.asked == signal.SIGTERM
    signals = Interrupts()
    with signals.deferred():
        with signals.immediate(), pytest.raises(KeyboardInterrupt):
            signals._handle(signal.SIGTERM, None)
        assert signals.asked is None


@pytest.mark.long
def test_the_curve_says_that_the_best_is_chosen(whole: Path) -> None:
    table = evaluation_curve([point.json() for point in read_points(whole)])
    assert "chosen on these very problems" in str(table.caption)
    assert [column.header for column in table.columns][3:6] == ["first", "last", "best"]
    assert table.row_count == 4


@pytest.mark.long
def test_the_figure_has_a_panel_for_each_benchmark_and_marks(whole: Path) -> None:
    points = load_points({"run": str(whole)})
    assert points["benchmark"].unique(maintain_order=True).to_list() == ["heldout", "mini", "own.jsonl"]
    assert points.select((pl.col("low") <= pl.col("accuracy")).all()).item()
    figure = draw_points(points, {"run": [(1, 3.0)]})
    assert [axes.get_title() for axes in figure.axes[:3]] == [
        "heldout, n=5 x 1", "mini, n=4 x 1", "own.jsonl, n=3 x 2",
    ]  # fmt: skip
    assert all([text.get_text() for text in axes.texts] == ["budget 3"] for axes in figure.axes[:3])
    rows = summary_rows(points)
    assert len(rows) == 4
    assert all(row[3].endswith("at 0") and row[4].endswith("at 5") for row in rows)
