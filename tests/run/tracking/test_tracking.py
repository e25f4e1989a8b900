"""What the offline run of Weights & Biases holds: names, axes, samples, curves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from src.config.paths import CONF, ROOT
from src.run.records import TrajectoryRecord
from src.run.tracking.naming import arm_name, merged, overrides, run_name, sweep_name
from src.run.tracking.tracker import spread
from tests.run.test_records import RECORD
from tests.wandb_file import history, records


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ([], None),
        (["+experiment=mini", "trainer.seed=1"], "mini seed=1"),
        (["+experiment=[mini,lora]", "engine=vllm"], "mini+lora engine=vllm"),
        (["data.seed=3", "trainer.seed=1"], "data.seed=3 trainer.seed=1"),
        (["data.train_path=/a/b/train.parquet"], "train_path=train.parquet"),
        (["evaluate.modes=[free,text]", "~trainer.seed"], "modes=[free,text] ~trainer.seed"),
        (["hydra.run.dir=x", "tracking=none", "tracking.tags=[a]", "trainer.resume=runs/A"], None),
    ],
)
def test_a_run_is_named_by_what_distinguishes_it(given: list[str], name: str | None) -> None:
    assert run_name(given) == name


def test_of_a_long_name_the_end_is_kept() -> None:
    name = run_name([*(f"trainer.key{number}={number}" for number in range(40)), "trainer.seed=7"])
    assert name is not None
    assert (len(name), name[:3], name[-14:]) == (120, "...", "key39=39 seed=7"[-14:])


def test_outside_a_program_there_are_none() -> None:
    assert (overrides(), sweep_name()) == ([], None)


JOB = f"""
import hydra, json
from src.config import Config, composition
from src.run.tracking.naming import arm_name, overrides, run_name, sweep_name
composition.register("train", Config)
@hydra.main(version_base="1.3", config_path={str(CONF)!r}, config_name="train")
def main(cfg):
    print(json.dumps([run_name(overrides()), sweep_name()]))
main()
"""


def test_the_jobs_of_a_sweep_have_names_and_a_group(tmp_path: Path) -> None:
    sweep = ["--multirun", f"hydra.sweep.dir={tmp_path}/seeds", "+experiment=mini", "trainer.seed=0,1,2"]
    done = subprocess.run(
        [sys.executable, "-c", JOB, *sweep],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('["')]
    assert said == [[f"mini seed={seed}", "seeds"] for seed in range(3)]


def test_runs_that_differ_in_seeds_are_an_arm() -> None:
    arms = [arm_name(["+experiment=mini", "reward.wrong=0", *more]) for more in ([], ["trainer.seed=3"])]
    assert arms == ["mini wrong=0"] * 2
    assert arm_name(["trainer.seed=1", "data.seed=2"]) == arm_name([]) == "defaults"


def test_the_arm_of_a_resumed_run_is_the_same() -> None:
    given = ["+experiment=mini", "evaluate.k=2", "trainer.steps=5"]
    again = merged(given, [*given, "evaluate.resume=true"])
    assert arm_name(again) == arm_name(given) == "mini k=2 steps=5"
    assert arm_name(merged(again, ["trainer.steps=9"])) == "mini k=2 steps=9"


def test_of_each_problem_one_is_shown_before_the_second_of_any() -> None:
    def trained(problem: str, sample: int) -> tuple[TrajectoryRecord, float]:
        return replace(RECORD, problem_id=problem, sample=sample), 0.5

    everyone = [trained(problem, sample) for problem in "abc" for sample in range(3)]
    shown = [(record.problem_id, record.sample) for record, _ in spread(everyone, 5)]
    assert shown == [("a", 0), ("b", 0), ("c", 0), ("a", 1), ("b", 1)]
    assert spread(everyone, 0) == spread([], 5) == []


TRACK = """
import json, sys
from dataclasses import replace
from pathlib import Path
from src.config import Config
from src.run.evaluations import Point
from src.run.tracking.tracker import Tracker
from tests.run.test_records import RECORD
folder, earlier = Path(sys.argv[1]), json.loads(sys.argv[2])
tracker = Tracker(Config(), folder, earlier)
first = 2 * bool(earlier)
lost = replace(RECORD, stop_reason="infrastructure", rewards=None)
for step in range(first, first + 2):
    records = [replace(RECORD, step=step, problem_id=name) for name in "abab"]
    trained = list(zip(records, (1.0, -1.0, 0.5, float("nan"))))
    tracker.step(step, {"reward": step / 2, "reward_std/correctness": 0.1}, [*records, lost], trained)
result = {"accuracy": 0.5, "interval": [0.25, 0.75], "metrics": {"reward": 0.1}, "n": 4}
tracker.points([Point(first, "heldout", mode, result) for mode in ("free", "text")])
tracker.points([Point(first + 2, "aime24", "free", result | {"accuracy": None})])
print(json.dumps(tracker.identity))
tracker.finish({"before": {"free": result}})
"""


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A run, and the same one resumed; their identities."""
    folder = tmp_path_factory.mktemp("a-run")
    identities: list[dict[str, Any]] = []
    for part in ("first", "second"):
        (folder / part).mkdir()
        earlier = identities[-1] | {"overrides": ["trainer.seed=1"]} if identities else {}
        done = subprocess.run(
            [sys.executable, "-c", TRACK, str(folder / part), json.dumps(earlier)],
            cwd=ROOT, env={**os.environ, "WANDB_MODE": "offline"}, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        identities.append(json.loads(done.stdout.splitlines()[-1]))
    return folder, identities


def logged(folder: Path) -> Path:
    (found,) = folder.glob("wandb/offline-run-*")
    return found


def test_metrics_have_axes_of_their_own(tracked: tuple[Path, list[Any]]) -> None:
    run = logged(tracked[0] / "first")
    defined = {
        one.metric.name or one.metric.glob_name: one.metric.step_metric
        for one in records(run)
        if one.WhichOneof("record_type") == "metric"
    }
    assert defined["train/*"] == "train/step"
    assert defined["eval/*"] == "eval/step"
    rows = history(run)
    assert [row["train/step"] for row in rows if "train/step" in row] == [0, 1]
    assert [(row["train/reward"], row["train/reward_std/correctness"]) for row in rows[:2]] == [
        (0, 0.1), (0.5, 0.1),
    ]  # fmt: skip
    values = {"accuracy": 0.5, "accuracy_low": 0.25, "accuracy_high": 0.75, "reward": 0.1}
    assert rows[2] == {
        **{f"eval/heldout/{mode}/{name}": x for mode in ("free", "text") for name, x in values.items()},
        "eval/step": 0,
    }
    assert rows[3] == {"eval/aime24/free/reward": 0.1, "eval/step": 2}, "no accuracy, no point"


def test_histograms_leave_out_what_was_lost(tracked: tuple[Path, list[Any]]) -> None:
    row = history(logged(tracked[0] / "first"))[0]
    counts = {
        name.split("/")[2]: sum(values)
        for name, values in row.items()
        if name.startswith("train/histogram/") and name.endswith("/values")
    }
    assert counts == {"tokens": 4, "reward": 4, "executions": 4, "advantage": 3}


def test_each_step_keeps_its_table_of_samples(tracked: tuple[Path, list[Any]]) -> None:
    run = logged(tracked[0] / "first")
    paths = [row["train/samples/path"] for row in history(run) if "train/samples/path" in row]
    assert len(set(paths)) == 2
    for step, path in enumerate(paths):
        table = json.loads((run / "files" / path).read_text())
        shown = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
        assert [(one["step"], one["problem_id"]) for one in shown] == [(step, name) for name in "abab"]
        assert [one["advantage"] for one in shown][:3] == [1.0, -1.0, 0.5]
        assert shown[0]["trajectory"].startswith(RECORD.segments[0].text)


def test_the_run_says_what_it_is_and_a_resumed_one_is_the_same(tracked: tuple[Path, list[Any]]) -> None:
    folder, identities = tracked
    assert identities[0]["wandb_name"] == "first", "without overrides, the folder"
    assert identities[1] == identities[0] | {"overrides": ["trainer.seed=1"]}
    for part in ("first", "second"):
        (run,) = [one.run for one in records(logged(folder / part)) if one.WhichOneof("record_type") == "run"]
        config = {item.key: json.loads(item.value_json) for item in run.config.update}
        assert (run.run_id, run.display_name, run.job_type) == (identities[0]["wandb_id"], "first", "train")
        assert config["trainer"]["seed"] == 0
        assert config["overrides"] == ([] if part == "first" else ["trainer.seed=1"])
    steps = [row["train/step"] for row in history(logged(folder / "second")) if "train/step" in row]
    assert steps == [2, 3]
