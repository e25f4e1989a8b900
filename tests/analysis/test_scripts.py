"""The analyses as commands: what they write, what they refuse, and that they draw without a warning."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from analysis import report, training_curves
from analysis.data import AnalysisError
from experiments.analysis.synthetic import write
from src.config.paths import ROOT
from tests.wandb_file import history

SCRIPTS = ("pass_at_k", "token_efficiency", "subjects", "error_feedback", "compare")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("synthetic")
    write(found, problems=12, samples=8)
    return found


def run(name: str, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-m", f"analysis.{name}", *overrides],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def policies(folder: Path) -> str:
    return f"policies={{base:{folder}/base,rl:{folder}/rl}}"


@pytest.fixture(scope="module")
def written(folder: Path) -> dict[str, Path]:
    """Every analysis once, as a command."""
    for name in SCRIPTS:
        done = run(name, policies(folder), "resamples=200", f"hydra.run.dir={folder}/out/{name}")
        assert done.returncode == 0, done.stderr
        assert "written to" in done.stdout
    return {name: folder / "out" / name for name in SCRIPTS}


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_analysis_leaves_tables_figures_and_the_settings_of_its_numbers(
    written: dict[str, Path], name: str, folder: Path
) -> None:
    out = written[name]
    result = json.loads((out / f"{name}.json").read_text())
    assert result["settings"]["analysis"]["policies"]["base"] == f"{folder}/base"
    assert result["settings"]["runs"]["rl"]["records"] == f"{folder}/rl/trajectories.jsonl"
    assert result["results"]
    assert pl.read_csv(out / f"{name}.csv").height > 0
    assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (out / f"{name}.svg").read_text()
    assert list(out.glob("*.partial")) == []


@pytest.mark.parametrize(
    ("name", "overrides", "says"),
    [
        ("pass_at_k", [], "policies: this value is mandatory"),
        ("pass_at_k", ["policies={a:nowhere}"], "nowhere: this records file does not exist"),
        ("subjects", ["policies={a:nowhere}", "pair=1"], "did you mean pairs"),
        ("compare", ["policies={a:nowhere}"], "1 are given; give two"),
        ("training_curves", ["runs={a:nowhere}"], "runs.a=nowhere: its metrics.jsonl is missing or empty"),
        ("ablation", ["arms={a:[nowhere]}"], "arms.a[0]=nowhere: its metrics.jsonl is missing or empty"),
        ("ablation", ["arms={a:nowhere}"], "arms.a=nowhere: expected a list, such as arms.a=[TEXT,TEXT]"),
        ("table", ["policies={a:{AIME24:nowhere}}"], "nowhere: this records file does not exist"),
        ("table", ["policies={a:nowhere}"], "policies.a=nowhere: expected names with values"),
        ("report", ["folders=[conf]"], "contains neither summary.json nor the results of one analysis"),
    ],
)
def test_a_mistake_is_one_message(name: str, overrides: list[str], says: str) -> None:
    done = run(name, *overrides)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_report_is_one_file_with_everything_in_it(written: dict[str, Path], folder: Path) -> None:
    (folder / "run").mkdir()
    found = {"accuracy": 0.5, "interval": [0.4, 0.6], "n": 10}
    summary = {
        "settings": {"commit": "abc123", "k": 1},
        "results": {"free": {**found, "by_subject": {"Algebra & more": found}}},
    }
    (folder / "run" / "summary.json").write_text(json.dumps(summary))
    folders = ",".join(map(str, [*written.values(), folder / "run"]))
    done = run("report", f"folders=[{folders}]", f"hydra.run.dir={folder}/report", "report.title='A < B'",
               "report.wandb=true", "report.mode=offline")  # fmt: skip
    assert done.returncode == 0, done.stderr
    page = (folder / "report" / "report.html").read_text()
    assert "<title>A &lt; B</title>" in page
    assert "Algebra &amp; more" in page
    assert page.count("data:image/png;base64,") == len(SCRIPTS)
    assert "abc123" in page
    assert not re.search(r'(?:src|href)="(?!data:|#)', page), "refers to nothing outside"
    (logged,) = (folder / "report" / "wandb").glob("offline-run-*")
    kinds, paths = {}, {}
    for row in history(logged):
        kinds |= {key.removesuffix("/_type"): one for key, one in row.items() if key.endswith("/_type")}
        paths |= {key.removesuffix("/path"): one for key, one in row.items() if key.endswith("/path")}
    figures = {f"out/{name}/{path.stem}" for name, out in written.items() for path in out.glob("*.png")}
    tables = {f"out/{name}/table/{path.stem}" for name, out in written.items() for path in out.glob("*.csv")}
    assert {key for key, one in kinds.items() if one == "image-file"} == figures
    assert {key for key, one in kinds.items() if one == "table-file"} == tables | {
        f"{folder.name}/run/table/accuracy"
    }
    assert all((logged / "files" / path).is_file() for path in paths.values())


def test_folders_of_the_same_names_have_keys_of_their_own(tmp_path: Path) -> None:
    folders = [analysis(tmp_path / one / "x.1" / "ablation") for one in ("a", "b")]
    sections = [section for one in folders for section in report.sections_of(one)]
    assert report.keys_of(sections) == ["x_1/ablation", "x_1/ablation-2"]


def analysis(folder: Path, **results: object) -> Path:
    folder.mkdir(parents=True)
    (folder / f"{folder.name}.json").write_text(
        json.dumps({"settings": {"of": folder.name}, "results": results})
    )
    return folder


def test_an_experiment_has_a_heading_a_question_and_its_verdicts(tmp_path: Path) -> None:
    folder = tmp_path / "curriculum"
    analysis(folder / "ablation", verdicts=[{"sentence": "a has lower m than b by 0.1 [0.05, 0.15]"}])
    analysis(folder / "pass_at_k")
    about = {"title": "The curriculum", "question": "Does <it> help?", "claim": "It does."}
    (folder / "about.json").write_text(json.dumps(about))
    alone = analysis(tmp_path / "alone")
    (alone / "about.json").write_text(json.dumps({"title": "By itself"}))
    sections = [section for one in (folder, alone) for section in report.sections_of(one)]
    assert [section.level for section in sections] == [2, 3, 3, 2]
    page = report.render(sections, "t")
    expected = (
        '<h2 id="section-0">The curriculum</h2>',
        "<b>Question:</b> Does &lt;it&gt; help?",
        "<b>Claim:</b> It does.",
        '<h3 id="section-1">ablation',
        "<li>a has lower m than b by 0.1 [0.05, 0.15]</li>",
        '<h3 id="section-2">pass_at_k',
        '<h2 id="section-3">By itself</h2>',
    )
    places = [page.index(text) for text in expected]
    assert places == sorted(places)
    assert page.count("<summary>settings of these numbers</summary>") == 3
    assert page.count("<ul") == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [("{", "about.json: not valid JSON"), ('{"heading": "x"}', "only title, question and claim are allowed"),
     ('{"title": 5}', "each a string"), ("[]", "each a string")],
)  # fmt: skip
def test_an_about_that_cannot_be_shown_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (analysis(tmp_path / "one") / "about.json").write_text(text)
    with pytest.raises(AnalysisError, match=says):
        report.sections_of(tmp_path / "one")


def test_the_workspace_shows_every_figure(written: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb_workspaces.workspaces as workspaces

    saved: list[workspaces.Workspace] = []
    monkeypatch.setattr(workspaces.Workspace, "save", lambda self: saved.append(self))
    monkeypatch.setattr(workspaces.Workspace, "url", "https://example.org/w", raising=False)
    parts = [report.read(one) for one in written.values()]
    report.save_workspace(parts, report.DetailsConfig(title="t", project="p"), "e")
    (workspace,) = saved
    assert (workspace.entity, workspace.project, workspace.name) == ("e", "p", "t")
    keys = [
        key
        for section in workspace.sections
        for one in section.panels
        for key in getattr(one, "media_keys", [])
    ]
    assert keys == [f"out/{name}/{name}" for name in SCRIPTS]


def steps(folder: Path, rise: int | None = 20, jump: float = 0.3, slope: float = 0.0) -> Path:
    folder.mkdir(parents=True)
    lines = [
        {"step": step, "attempt": 0, "budget": 2.0 + (rise is not None and step >= rise),
         "accuracy": 0.1 + slope * step + jump * (rise is not None and step >= rise) + 0.01 * (step % 3)}
        for step in range(40)
    ]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_training_curves_mark_and_measure_each_rise(tmp_path: Path) -> None:
    cfg = training_curves.TrainingCurvesConfig(
        runs={"a": str(steps(tmp_path / "a")), "b": str(steps(tmp_path / "b", rise=None))},
        metrics=["accuracy"],
    )
    table = training_curves.load_runs(cfg)
    (change,) = training_curves.changes(table, cfg)
    assert (change["run"], change["step"], change["budget"]) == ("a", 20, 3.0)
    assert change["low"] <= 0.3 <= change["high"]
    assert (change["steps_before"], change["steps_after"]) == (10, 10)
    assert len(training_curves.draw(table, cfg).axes) == 1
    done = run("training_curves", f"runs={{a:{tmp_path}/a,b:{tmp_path}/b}}", "metrics=[accuracy]",
               f"hydra.run.dir={tmp_path}/out")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "changes.csv").read_text().count("\n") == 2
    with pytest.raises(AnalysisError, match=r"metrics=loss: .* does not have it; choose from accuracy, at"):
        training_curves.load_runs(training_curves.TrainingCurvesConfig(runs=cfg.runs, metrics=["loss"]))


@pytest.mark.parametrize("jump", [0.0, -0.1, 0.1])
def test_a_change_at_a_rise_is_measured_against_the_trend(tmp_path: Path, jump: float) -> None:
    """A curve that rises by 0.01 a step anyway has not changed by 0.1 over ten steps."""
    cfg = training_curves.TrainingCurvesConfig(
        runs={"a": str(steps(tmp_path / "a", jump=jump, slope=0.01))}, metrics=["accuracy"]
    )
    (change,) = training_curves.changes(training_curves.load_runs(cfg), cfg)
    assert change["low"] <= jump <= change["high"]
    assert (change["low"] <= 0 <= change["high"]) == (jump == 0)


def test_smoothing_keeps_the_ends() -> None:
    assert training_curves.smooth(pl.Series([0.0, 3.0, 0.0]), 3).to_list() == [1.5, 1.0, 1.5]
