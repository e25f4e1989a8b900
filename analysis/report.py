"""``python -m analysis.report 'folders=[runs/A/pass_at_k, runs/B]'``: one HTML file with everything in it.

Takes the folders of analyses (their figures and tables) and of runs and evaluations (their summaries), each
with the settings of its numbers. With ``report.wandb=true`` the same goes to W&B, with a workspace.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from jinja2 import Environment, FileSystemLoader, select_autoescape

from analysis.data import AnalysisError
from src.console import console
from src.entry import entry
from src.schema import option

NAME = "report"
_ROWS = 200  # of a table that are shown
_NOT_ANALYSES = ("config", "machine", "state", "summary")


@dataclass
class DetailsConfig:
    """Where the report goes."""

    title: str = "Code-integrated reasoning"
    wandb: bool = False  # to Weights & Biases, too
    mode: str = option("online", choices=("online", "offline"))
    project: str = "code-integrated-reasoning"
    entity: str | None = None


@dataclass
class ReportConfig:
    """Settings of the report."""

    folders: list[str] = field(default_factory=list)  # of analyses, evaluations and runs
    report: DetailsConfig = field(default_factory=DetailsConfig)


@dataclass(frozen=True)
class Part:
    """What one folder contributes: PNG figures and tables by name, and the settings of its numbers."""

    title: str
    figures: dict[str, Path]
    tables: dict[str, pl.DataFrame]
    settings: dict[str, Any]


def read(folder: Path) -> Part:
    """Return the part of an analysis, or of a run or an evaluation. Raises AnalysisError for others."""
    summary = folder / "summary.json"
    if summary.is_file():
        content = json.loads(summary.read_text())
        table = pl.DataFrame(list(_accuracies(content)), schema=_ACCURACY, orient="row")
        return Part(str(folder), {}, {"accuracy": table}, content["settings"])
    results = [path for path in sorted(folder.glob("*.json")) if path.stem not in _NOT_ANALYSES]
    if len(results) != 1:
        raise AnalysisError(
            f"folders: {folder} holds neither summary.json nor the results of one analysis; give that of "
            "a run, of an evaluation or of an analysis"
        )
    return Part(
        f"{results[0].stem} ({folder})",
        {path.stem: path for path in sorted(folder.glob("*.png"))},
        {path.stem: pl.read_csv(path, infer_schema_length=None) for path in sorted(folder.glob("*.csv"))},
        json.loads(results[0].read_text())["settings"],
    )


_ACCURACY = {
    **dict.fromkeys(("phase", "mode", "group"), pl.String),
    **dict.fromkeys(("accuracy", "low", "high"), pl.Float64),
    "n": pl.Int64,
}


def _accuracies(summary: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    for phase in ("before", "after", "results"):
        for mode, found in summary.get(phase, {}).items():
            for group, one in {"all": found, **found["by_subject"]}.items():
                yield phase, mode, group, one["accuracy"], *one["interval"], one["n"]


def render(parts: list[Part], title: str) -> str:
    """Return the HTML, which refers to nothing outside itself."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=select_autoescape(), trim_blocks=True
    )

    def shown(name: str, table: pl.DataFrame) -> dict[str, Any]:
        rows = [[_cell(value) for value in row] for row in table.head(_ROWS).iter_rows()]
        return {"name": name, "columns": table.columns, "rows": rows, "total": table.height}

    return environment.get_template("report.html").render(
        title=title,
        parts=[
            {
                "id": f"part-{number}",
                "title": part.title,
                "figures": [
                    {"name": name, "data": base64.b64encode(path.read_bytes()).decode()}
                    for name, path in part.figures.items()
                ],
                "tables": [shown(name, table) for name, table in part.tables.items()],
                "settings": json.dumps(part.settings, indent=2),
            }
            for number, part in enumerate(parts)
        ],
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def log_to_wandb(parts: list[Part], cfg: DetailsConfig, folder: Path) -> None:
    """Log figures and tables to one W&B run and, online, save a workspace with a section for each part."""
    import wandb

    run = wandb.init(
        project=cfg.project, entity=cfg.entity, mode=cfg.mode, job_type="report", name=cfg.title,
        dir=str(folder),
        config={part.title: part.settings for part in parts},
    )  # fmt: skip
    for number, part in enumerate(parts):
        figures = {f"{number}/{name}": wandb.Image(str(path)) for name, path in part.figures.items()}
        tables = {
            f"{number}/{name}": wandb.Table(columns=table.columns, data=list(map(list, table.iter_rows())))
            for name, table in part.tables.items()
        }
        run.log(figures | tables)
    entity = run.entity
    run.finish()
    if cfg.mode == "online":
        save_workspace(parts, cfg, entity)


def save_workspace(parts: list[Part], cfg: DetailsConfig, entity: str) -> str:
    """Save a workspace that shows the report's panels beside the training metrics; return its address."""
    import wandb_workspaces.reports.v2 as panels
    import wandb_workspaces.workspaces as workspaces

    metrics = ("accuracy", "reward", "budget", "failed_share")
    curves = [panels.LinePlot(x="Step", y=[name]) for name in metrics]
    sections = [workspaces.Section(name="training", panels=curves, is_open=True)]
    sections += [
        workspaces.Section(
            name=part.title,
            panels=[panels.MediaBrowser(media_keys=[f"{number}/{name}"]) for name in part.figures],
            is_open=True,
        )
        for number, part in enumerate(parts)
        if part.figures
    ]
    workspace = workspaces.Workspace(entity=entity, project=cfg.project, name=cfg.title, sections=sections)
    workspace.save()
    return str(workspace.url)


@entry(f"analysis/{NAME}", ReportConfig)
def main(cfg: ReportConfig, folder: Path) -> None:
    """Read, render, write."""
    if not cfg.folders:
        raise AnalysisError("folders: none are given; give folders=[runs/A,runs/B]")
    parts = [read(Path(one).expanduser()) for one in cfg.folders]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.html"
    partial = path.with_suffix(".partial")
    partial.write_text(render(parts, cfg.report.title), encoding="utf-8")
    partial.replace(path)
    if cfg.report.wandb:
        log_to_wandb(parts, cfg.report, folder)
    console.print(f"written to {path}")


if __name__ == "__main__":
    main()
