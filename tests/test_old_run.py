"""The folder of a run from before metrics, record fields and settings got their present names stays usable.

tests/old_run holds what that version wrote: config.json with values other than the defaults, metrics.jsonl,
trajectories.jsonl and summary.json.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from analysis import ablation, training_curves
from analysis.arms import load_runs
from analysis.caveats import caveats
from analysis.data import load
from analysis.measures import Measure
from experiments.reproduce.folder import Folder
from experiments.reproduce.plan import TRAIN, Command
from src.config import Config
from src.config.schema import build
from src.launch import resumption
from src.launch.checks import load as checked
from src.run import renamed
from src.run.alarms import build_alarms
from src.run.checkpoints import MARK
from src.run.records import read_metrics, read_records
from tests.compositions import composed

OLD = Path(__file__).parent / "old_run"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A copy with a checkpoint, as far as a resumed run looks at it before it loads a model."""
    folder = tmp_path / "run"
    shutil.copytree(OLD, folder)
    checkpoint = folder / "checkpoints" / "step-2"
    checkpoint.mkdir(parents=True)
    (checkpoint / MARK).write_text(json.dumps({"step": 2, "files": {}}))
    return folder


def value(config: Any, name: str) -> Any:
    """The value of a dotted name; the first item of a list."""
    for part in name.split("."):
        config = config[part.removesuffix("[]")]
        config = config[0] if part.endswith("[]") else config
    return config


def test_no_old_name_is_left_of_its_metrics() -> None:
    raw = [json.loads(line) for line in (OLD / "metrics.jsonl").read_text().splitlines()]
    rows = read_metrics(OLD / "metrics.jsonl")
    assert [len(row) for row in rows] == [len(row) for row in raw]
    assert not set(renamed.METRICS) & set(rows[0])
    values = {new: raw[0][old] for old, new in renamed.METRICS.items() if old in raw[0]}
    assert {"tool_use_rate", "fabricated_output_rate", "frac_reward_zero_std"} <= values.keys()
    assert values["tool_use_rate"] == 0.625
    assert {name: rows[0][name] for name in values} == values


def test_its_records_are_read() -> None:
    records = read_records(OLD / "trajectories.jsonl")
    raw = [json.loads(line) for line in (OLD / "trajectories.jsonl").read_text().splitlines()]
    assert [record.fabricated_output for record in records] == [row["invented"] for row in raw]
    assert {record.fabricated_output for record in records} == {True, False}


class TestAnalysis:
    def test_its_curves_have_the_present_names(self, run: Path) -> None:
        arms = load_runs({"old": [str(run)]}, ["tool_use_rate", "clip_ratio/high_mean"])
        assert arms["old"][0].curves["tool_use_rate"].tolist() == [
            row["tool_use_rate"] for row in read_metrics(run / "metrics.jsonl")
        ]

    def test_metrics_may_be_asked_for_by_their_old_names(self, run: Path) -> None:
        cfg = ablation.AblationConfig(
            arms={"old": [str(run)]}, metrics=["code_share"], measures=["repair_rate:last"], last=1
        )
        _, _, measures = ablation.check(cfg)
        assert (cfg.metrics, measures) == (["tool_use_rate"], [Measure("accuracy_after_failure", "last")])
        curves = training_curves.TrainingCurvesConfig(runs={"old": str(run)}, metrics=["failed_share"])
        assert training_curves.load_runs(curves).columns == [
            "run",
            "step",
            "budget",
            "execution_failure_rate",
        ]

    def test_an_evaluation_whose_rates_have_their_old_names(self, run: Path) -> None:
        rollout = {
            "seconds/generation": 8.0,
            "seconds/execution": 2.0,
            "engine/sampled_per_second": 1e6,
            "sandbox/executions": 1e3,
        }
        (run / "summary.json").write_text(json.dumps({"results": {"free": {"rollout": rollout}}}))
        rows = [json.loads(line) for line in (run / "trajectories.jsonl").read_text().splitlines()]
        text = "".join(json.dumps(row | {"phase": "evaluate", "seed": None}) + "\n" for row in rows)
        (run / "trajectories.jsonl").write_text(text)
        assert caveats(run / "trajectories.jsonl", load(run / "trajectories.jsonl")) == []


class TestSettings:
    @pytest.mark.parametrize(("old", "new"), resumption.RENAMED.items())
    def test_each_has_its_value_under_the_present_name(self, old: str, new: str) -> None:
        recorded = json.loads((OLD / "config.json").read_text())
        settings = asdict(build(Config, resumption.renamed(recorded)))
        assert value(settings, new) == value(recorded, old) != value(asdict(Config()) | ALARM, new)

    def test_the_run_is_resumed_with_them(self, run: Path) -> None:
        given = (f"trainer.resume={run}", "trainer.steps=4")
        cfg = checked(Config, resumption.configuration(Config, composed("train", *given), given))
        assert (cfg.trainer.steps, cfg.trainer.kl_coef, cfg.engine.min_active_fraction) == (4, 0.01, 0.25)
        assert [name for name, *_ in resumption.differences(cfg, run)] == ["trainer.steps"]

    def test_its_alarms_fire(self) -> None:
        recorded = json.loads((OLD / "config.json").read_text())
        alarms = build_alarms(build(Config, resumption.renamed(recorded)).alarm)
        row = read_metrics(OLD / "metrics.jsonl")[0] | {"frac_reward_zero_std": 1.0}
        fired = [alarms.check(step, row) for step in range(5)][-1]
        assert [alarm.rule.name for alarm in fired] == ["no_signal"]
        assert "choose problems of another difficulty" in str(fired[0])

    def test_a_reproduction_takes_it_for_finished(self, run: Path, tmp_path: Path) -> None:
        recorded = json.loads((OLD / "config.json").read_text())
        cfg = build(Config, resumption.renamed(recorded))
        command = Command("run", TRAIN, TRAIN, "src.train", (), config=cfg)
        Folder(tmp_path).check({"run": command}, "experiments/mini_base")
        assert Folder(tmp_path).finished(command)


ALARM = {"alarm": {"rules": [{"message": ""}]}}
