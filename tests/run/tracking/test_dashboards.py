"""A real run as dashboards see it: no panel is empty, W&B and TensorBoard agree, files are there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis import publish
from analysis.data import AnalysisError
from src.config.paths import ROOT
from src.run.records import iter_records, read_metrics
from src.run.tracking import panels
from src.run.tracking.panels import CURVES
from src.run.tracking.tensorboard_backend import tag
from src.run.tracking.workspaces import ARMS, SAMPLES, TRAINING, spec, workspace
from tests.event_files import scalars, texts
from tests.wandb_file import history, records

BOTH = "tracking.backends=[wandb,tensorboard]"
TRAIN = [
    *("+experiment=mini_debug", "data.heldout_size=4", "trainer.steps=2", "trainer.kl_coef=0.001"),
    *("trainer.seed=7", BOTH, "tracking.artifacts=[results,checkpoint]"),
]
EVALUATE = ["benchmark.size=3", "evaluate.k=2", "evaluate.modes=[free,text]", "tracking=wandb", BOTH]


def run(program: str, *overrides: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", program, *overrides], cwd=ROOT, env={**os.environ, "WANDB_MODE": "offline"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    assert "failed" not in run("src.train", *TRAIN, f"hydra.run.dir={folder}")
    return folder


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    run("src.evaluate", *EVALUATE, f"hydra.run.dir={folder}")
    return folder


def logged(folder: Path) -> Path:
    (found,) = folder.glob("wandb/offline-run-*")
    return found


def summary(run_dir: Path) -> dict[str, Any]:
    return {
        one.key or "/".join(one.nested_key): json.loads(one.value_json)
        for record in records(run_dir)
        if record.WhichOneof("record_type") == "summary"
        for one in record.summary.update
    }


def artifacts(run_dir: Path) -> dict[str, tuple[str, set[str]]]:
    """Type and files of each artifact, by the beginning of its name."""
    return {
        one.artifact.name.rpartition("-")[0]: (
            one.artifact.type,
            {x.path for x in one.artifact.manifest.contents},
        )
        for one in records(run_dir)
        if one.WhichOneof("record_type") == "artifact" and one.artifact.type != "run_table"
    }


def described(run_dir: Path) -> tuple[Any, dict[str, Any]]:
    (found,) = [one.run for one in records(run_dir) if one.WhichOneof("record_type") == "run"]
    return found, {item.key: json.loads(item.value_json) for item in found.config.update}


def keys(run_dir: Path) -> set[str]:
    """Everything that a panel can show."""
    rows = [key for row in history(run_dir) for key in row]
    return {re.sub("/(_type|path)$", "", key) for key in rows} | set(summary(run_dir))


def asked(node: Any) -> Iterator[str]:
    """Yield the metrics that a view shows, as they are in what is sent to W&B."""
    if isinstance(node, dict):
        if node.get("viewType"):
            config = node["config"]
            yield from config.get("metrics", [])
            yield from [config["xAxis"]] if "xAxis" in config else []
            if "panel2Config" in config:
                yield config["panel2Config"]["exp"]["fromOp"]["inputs"]["key"]["val"]
        for value in node.values():
            yield from asked(value)
    elif isinstance(node, list):
        for value in node:
            yield from asked(value)


class TestWorkspaces:
    @pytest.mark.parametrize("kind", [TRAINING, ARMS])
    def test_every_metric_of_a_panel_is_logged_by_a_run(self, kind: str, trained: Path) -> None:
        view = spec(workspace(kind, "team", "p"))
        names = set(asked(view))
        assert len(names) > 12
        assert names - keys(logged(trained)) == set()

    def test_the_training_workspace_shows_what_is_asked_for(self) -> None:
        names = set(asked(spec(workspace(TRAINING, "team", "p"))))
        every = {f"train/{name}" for found in panels.TRAINING.values() for one in found for name in one.names}
        assert names == every | {f"eval/{one}/accuracy" for one in CURVES} | {
            SAMPLES,
            "train/step",
            "eval/step",
        }

    @pytest.mark.parametrize("kind", [TRAINING, ARMS])
    def test_a_view_has_the_schema_of_wandb(self, kind: str) -> None:
        from wandb_workspaces.workspaces import Workspace
        from wandb_workspaces.workspaces.internal import View, WorkspaceViewspec

        made = spec(workspace(kind, "team", "p", ["aime24/free"]))
        parsed = WorkspaceViewspec.model_validate_json(json.dumps(made["spec"]))
        assert json.loads(parsed.model_dump_json(by_alias=True, exclude_none=True)) == made["spec"]
        view = View(
            entity="team", project="p", display_name=made["displayName"], name="n", id="i", spec=parsed
        )
        again = Workspace._from_model(view)
        assert [one.name for one in again.sections] == [
            one.name for one in workspace(kind, "team", "p").sections
        ]
        assert {type(panel).__name__ for one in again.sections for panel in one.panels} <= {
            "LinePlot", "BarPlot", "RunComparer", "WeavePanelSummaryTable"
        }  # fmt: skip
        assert "eval/aime24/free/accuracy" in set(asked(made))

    def test_arms_are_grouped_by_a_setting_that_runs_have(self, trained: Path) -> None:
        view = spec(workspace(ARMS, "team", "p"))["spec"]
        (one,) = view["section"]["runSets"][0]["grouping"]
        assert one["name"].partition(".")[0] == "arm"
        _, config = described(logged(trained))
        assert config["arm"] == "mini_debug heldout_size=4 steps=2 kl_coef=0.001"

    def test_without_a_network_the_views_are_a_file(self, tmp_path: Path) -> None:
        run("src.dashboard", "entity=team", "save=false", f"path={tmp_path / 'views.json'}")
        views = json.loads((tmp_path / "views.json").read_text())
        assert {kind: view["displayName"] for kind, view in views.items()} == {
            "training": "Training", "arms": "Arms"
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("given", "message"),
        [("save=false", "give path=FILE.json"), ("curves=[aime24]", "curves: aime24: give BENCHMARK/MODE")],
    )
    def test_what_makes_no_sense_is_an_error(self, given: str, message: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "src.dashboard", "entity=team", given],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, message in done.stderr) == (2, True)

    def test_without_a_key_one_line_says_what_to_do(self, tmp_path: Path) -> None:
        without = {key: value for key, value in os.environ.items() if key != "WANDB_API_KEY"}
        done = subprocess.run(
            [sys.executable, "-m", "src.dashboard", "entity=team"], env=without | {"HOME": str(tmp_path)},
            cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert "No API key" in line
        assert "save=false path=FILE.json" in line


class TestTraining:
    def test_both_have_the_same_curves(self, trained: Path) -> None:
        board = scalars(trained / "tensorboard")
        curves: dict[str, list[tuple[int, float]]] = {}
        for row in history(logged(trained)):
            for axis in ("train", "eval"):
                for name, value in row.items():
                    known = (
                        isinstance(value, int | float)
                        and "/histogram/" not in name
                        and "/samples/" not in name
                    )
                    if known and name.startswith(f"{axis}/") and name != f"{axis}/step":
                        place = tag(axis, name.removeprefix(f"{axis}/"))
                        curves.setdefault(place, []).append(
                            (row[f"{axis}/step"], pytest.approx(value, rel=1e-6))
                        )
        assert len(curves) > 100
        assert board == curves
        assert [step for step, _ in board["eval/heldout/free/accuracy"]] == [0, 2]
        assert [step for step, _ in board["train/reward"]] == [0, 1]

    def test_every_metric_of_the_run_is_logged(self, trained: Path) -> None:
        board = scalars(trained / "tensorboard")
        rows = read_metrics(trained / "metrics.jsonl")
        names = {name for row in rows for name in row} - {"step", "attempt"}
        assert {name for name in names if tag("train", name) not in board} == set()
        terms = {one for row in rows for one in row if one.startswith(("reward/", "reward_std"))}
        assert terms == {"reward/correctness", "reward_std", "reward_std/correctness"}

    def test_the_samples_are_there_as_text(self, trained: Path) -> None:
        shown = texts(trained / "tensorboard", "train/samples")
        assert set(shown) == {0, 1}
        first = next(one for one in iter_records(trained / "trajectories.jsonl") if one.phase == "train")
        assert first.problem in shown[0]

    def test_the_summary_has_the_last_and_the_best(self, trained: Path) -> None:
        found, after = summary(logged(trained)), json.loads((trained / "summary.json").read_text())["after"]
        for mode in ("free", "code", "text"):
            assert found[f"final/heldout/{mode}/accuracy"] == after[mode]["accuracy"]
            assert found[f"best/heldout/{mode}/accuracy"] >= after[mode]["accuracy"]
            assert found[f"best/heldout/{mode}/step"] in (0, 2)

    def test_results_and_the_checkpoint_are_artifacts(self, trained: Path) -> None:
        found = artifacts(logged(trained))
        assert found["results"][0] == "results"
        assert {"summary.json", "config.json", "metrics.jsonl", ".hydra/overrides.yaml"} <= found["results"][
            1
        ]
        assert "trajectories.jsonl" not in found["results"][1]
        kind, files = found["checkpoint"]
        assert (kind, {"model.safetensors", "complete.json"} <= files) == ("model", True)
        assert set(found) == {"results", "checkpoint"}


@pytest.mark.long
class TestEvaluation:
    def test_it_is_a_run_of_its_own_type(self, evaluated: Path) -> None:
        found, config = described(logged(evaluated))
        assert (found.job_type, found.display_name) == ("eval", "size=3 k=2 modes=[free,text]")
        assert config["benchmark"]["size"] == 3

    def test_accuracies_with_intervals_and_pass_at_k(self, evaluated: Path) -> None:
        results = json.loads((evaluated / "summary.json").read_text())["results"]
        rows = [row for row in history(logged(evaluated)) if "eval/step" in row]
        every = {key: value for row in rows for key, value in row.items()}
        board = scalars(evaluated / "tensorboard")
        for mode in ("free", "text"):
            at = f"mini/{mode}"
            low, high = results[mode]["interval"]
            assert every[f"eval/{at}/accuracy"] == results[mode]["accuracy"]
            assert (every[f"eval/{at}/accuracy_low"], every[f"eval/{at}/accuracy_high"]) == (low, high)
            assert every[f"eval/{at}/pass_at_2"] == results[mode]["pass_at_k"]["2"]
            assert board[f"eval/{at}/accuracy"] == [(0, pytest.approx(results[mode]["accuracy"]))]
            assert results[mode]["pass_at_k"]["2"] >= results[mode]["accuracy"]

    def test_some_trajectories_are_shown(self, evaluated: Path) -> None:
        run_dir = logged(evaluated)
        (path,) = [row["eval/samples/path"] for row in history(run_dir) if "eval/samples/path" in row]
        table = json.loads((run_dir / "files" / path).read_text())
        shown = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
        assert len(shown) == 2 * 3
        assert {(one["mode"], one["sample"], one["advantage"]) for one in shown} == {
            ("free", 0, None), ("text", 0, None)
        }  # fmt: skip
        assert shown[0]["problem"] in texts(evaluated / "tensorboard", "eval/samples")[0]

    def test_resumed_it_is_the_same_run(self, evaluated: Path) -> None:
        before = {one.name for one in (evaluated / "wandb").glob("offline-run-*")}
        run("src.evaluate", *EVALUATE, "evaluate.resume=true", f"hydra.run.dir={evaluated}")
        (new,) = {one.name for one in (evaluated / "wandb").glob("offline-run-*")} - before
        (old,) = before
        (again, _), (first, _) = described(evaluated / "wandb" / new), described(evaluated / "wandb" / old)
        assert (again.run_id, again.display_name) == (first.run_id, first.display_name)
        assert len(scalars(evaluated / "tensorboard")["eval/mini/free/accuracy"]) == 1


class TestPublishing:
    def test_figures_and_the_page_are_added_to_the_run(self, trained: Path, tmp_path: Path) -> None:
        """In a process of its own, as W&B is; the page is a short one."""
        folder = tmp_path / "curves"
        folder.mkdir()
        import matplotlib.pyplot as plt

        plt.figure().savefig(folder / "curves.png")
        (folder / "curves.csv").write_text("a,b\n1,2\n")
        code = (
            "import sys, types; from pathlib import Path;"
            "made = types.SimpleNamespace(write_page=lambda run, path: Path(path).write_text('<p>page</p>'));"
            "sys.modules['analysis.view'] = made;"
            "from analysis.publish import PublishConfig, publish;"
            f"print(publish(PublishConfig(run={str(trained)!r}, folders=[{str(folder)!r}])))"
        )
        before = set((trained / "wandb").glob("offline-run-*"))
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
        )
        assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr
        (new,) = set((trained / "wandb").glob("offline-run-*")) - before
        (old,) = before
        try:
            assert described(new)[0].run_id == described(old)[0].run_id
            assert artifacts(new) == {
                "figures": ("figures", {"curves/curves.png", "curves/curves.csv"}),
                "viewer": ("viewer", {"view.html"}),
            }
            assert any("figures/curves/curves/path" in row for row in history(new))
        finally:
            for path in sorted(new.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            new.rmdir()

    def test_a_run_without_wandb_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(AnalysisError, match=r"run=.* is not the folder of a run that was logged to W&B"):
            publish.publish(publish.PublishConfig(run=str(tmp_path)))

    def test_a_folder_without_figures_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(AnalysisError, match=r"folders: .* has no figures"):
            publish.figures([tmp_path])

    def test_folders_of_one_name_are_an_error(self, tmp_path: Path) -> None:
        folders = [tmp_path / run / "compare" for run in ("a", "b")]
        for folder in folders:
            folder.mkdir(parents=True)
            (folder / "compare.csv").touch()
        with pytest.raises(AnalysisError, match=r"a/compare and .*b/compare have the same name; rename one"):
            publish.figures(folders)
