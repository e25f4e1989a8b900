"""``python -m analysis.report 'folders=[runs/A/pass_at_k, runs/B]'``: one self-contained HTML file.

Takes folders of analyses (figures, tables, verdicts) and of runs and evaluations (summaries), each with its
settings, or a folder of such folders. ``about.json`` in any of them sets its heading: ``{"title": ...,
"question": ..., "claim": ...}``. With ``report.wandb=true`` the report is also logged to W&B, with a
workspace.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl
from jinja2 import Environment, FileSystemLoader, select_autoescape

from analysis.data import AnalysisError
from src.config.schema import option
from src.launch.entry import entry
from src.run.console import console
from src.run.records import SUMMARY
from src.run.tracking.wandb_backend import start_run
from src.run.tracking.workspaces import training_sections

NAME = "report"
_ROWS = 200  # rows of a table that are shown
ABOUT = "about.json"
_NOT_ANALYSES = ("about", "config", "data", "machine", "state", "summary")


@dataclass
class DetailsConfig:
    """Title and destination of the report."""

    title: str = option("Code-integrated reasoning", "heading")
    wandb: bool = option(False, "also log to Weights & Biases, with a saved workspace")
    mode: str = option(
        "online", "online runs that cannot reach W&B are logged offline", choices=("online", "offline")
    )
    init_timeout: float = option(30.0, "seconds to reach W&B with mode=online", above=0)
    project: str = option("code-integrated-reasoning", "W&B project")
    entity: str | None = option(None, "account or team; null: the account's default")


@dataclass
class ReportConfig:
    """Settings of the report."""

    folders: list[str] = option(
        "???", "folders of analyses, evaluations and runs, or folders of several of these"
    )
    report: DetailsConfig = field(default_factory=DetailsConfig)


@dataclass(frozen=True)
class Section:
    """What one folder contributes: PNG figures and tables by name, and the settings of its numbers.

    Attributes:
        folder: of the results.
        verdicts: sentences.
        about: question and claim of ``about.json``.
        level: of the heading: 2, or 3 below another part.
    """

    title: str
    folder: Path
    figures: dict[str, Path]
    tables: dict[str, pl.DataFrame]
    settings: dict[str, Any]
    verdicts: list[str] = field(default_factory=list)
    about: dict[str, str] = field(default_factory=dict)
    level: int = 2


def sections_of(folder: Path) -> list[Section]:
    """Return the section of a folder, or a heading and those of the folders in it. Raises AnalysisError."""
    inside = [one for one in sorted(folder.glob("*/")) if _results(one)]
    if _results(folder) or not inside:
        return [read(folder)]
    about = _about(folder)
    heading = Section(about.pop("title", str(folder)), folder, {}, {}, {}, about=about)
    return [heading, *(replace(read(one), level=3) for one in inside)]


def read(folder: Path) -> Section:
    """Return the section of an analysis, or of a run or an evaluation. Raises AnalysisError for others."""
    about = _about(folder)
    title = about.pop("title", None)
    section = _read(folder)
    return replace(section, title=title or section.title, about=about)


def _about(folder: Path) -> dict[str, str]:
    """Return the content of ``about.json``, if there is one. Raises AnalysisError if it is invalid."""
    path = folder / ABOUT
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise AnalysisError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(found, dict) or not all(
        key in ("title", "question", "claim") and isinstance(value, str) for key, value in found.items()
    ):
        raise AnalysisError(f"{path}: only title, question and claim are allowed, each a string")
    return found


def _results(folder: Path) -> list[Path]:
    """Return the result files by which a folder is one of a run, an evaluation or an analysis."""
    files = sorted(folder.glob("*.json"))
    return [file for file in files if file.stem == "summary"] or [
        file for file in files if file.stem not in _NOT_ANALYSES
    ]


def _read(folder: Path) -> Section:
    summary = folder / SUMMARY
    if summary.is_file():
        content = json.loads(summary.read_text())
        table = pl.DataFrame(list(_accuracies(content)), schema=_ACCURACY, orient="row")
        return Section(str(folder), folder, {}, {"accuracy": table}, content["settings"])
    results = _results(folder)
    if len(results) != 1:
        raise AnalysisError(
            f"folders: {folder} contains neither summary.json nor the results of one analysis; give the "
            "folder of a run, of an evaluation or of an analysis"
        )
    content = json.loads(results[0].read_text())
    return Section(
        f"{results[0].stem} ({folder})",
        folder,
        {path.stem: path for path in sorted(folder.glob("*.png"))},
        {path.stem: pl.read_csv(path, infer_schema_length=None) for path in sorted(folder.glob("*.csv"))},
        content["settings"],
        [row["sentence"] for row in content["results"].get("verdicts", [])],
    )


_ACCURACY = {
    **dict.fromkeys(("phase", "mode", "group"), pl.String),
    **dict.fromkeys(("accuracy", "low", "high"), pl.Float64),
    **dict.fromkeys(("n", "problems", "fewest_k", "most_k"), pl.Int64),
}


def _accuracies(summary: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    for phase in ("before", "after", "results"):
        for mode, found in summary.get(phase, {}).items():
            for group, row in {"all": found, **found["by_subject"]}.items():
                # older summaries have the number of trajectories only
                sizes = (row["problems"], *row["k"]) if "problems" in row else (None,) * 3
                yield phase, mode, group, row["accuracy"], *row["interval"], row["n"], *sizes


def render(sections: list[Section], title: str) -> str:
    """Return the HTML, which refers to nothing outside itself."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=select_autoescape(), trim_blocks=True
    )

    def shown(name: str, table: pl.DataFrame) -> dict[str, Any]:
        rows = [[_cell(value) for value in row] for row in table.head(_ROWS).iter_rows()]
        return {"name": name, "columns": table.columns, "rows": rows, "total": table.height}

    return environment.get_template("report.html").render(
        title=title,
        sections=[
            {
                "id": f"section-{number}",
                "title": section.title,
                "level": section.level,
                "about": section.about,
                "verdicts": section.verdicts,
                "figures": [
                    {"name": name, "data": base64.b64encode(path.read_bytes()).decode()}
                    for name, path in section.figures.items()
                ],
                "tables": [shown(name, table) for name, table in section.tables.items()],
                "settings": json.dumps(section.settings, indent=2) if section.settings else None,
            }
            for number, section in enumerate(sections)
        ],
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def keys_of(sections: list[Section]) -> list[str]:
    """Return what the keys of each section's figures and tables begin with: FOLDER/ANALYSIS, all different.

    W&B keeps the last value of a key, and groups keys with the same prefix into a section.
    """
    found: list[str] = []
    for section in sections:
        name = "/".join(section.folder.absolute().parts[-2:]).replace(".", "_")  # a dot would nest
        same = sum(one == name or one.startswith(f"{name}-") for one in found)
        found.append(f"{name}-{same + 1}" if same else name)
    return found


def log_to_wandb(sections: list[Section], cfg: DetailsConfig, folder: Path) -> None:
    """Log figures and tables to one W&B run and, online, save a workspace with one for each."""
    import wandb

    run = start_run(
        cfg.mode, folder, cfg.init_timeout, project=cfg.project, entity=cfg.entity, job_type="report",
        name=cfg.title, config={section.title: section.settings for section in sections},
    )  # fmt: skip
    for key, section in zip(keys_of(sections), sections, strict=True):
        figures = {f"{key}/{name}": wandb.Image(str(path)) for name, path in section.figures.items()}
        tables = {
            f"{key}/table/{name}": wandb.Table(columns=table.columns, data=list(map(list, table.iter_rows())))
            for name, table in section.tables.items()
        }
        if figures or tables:
            run.log(figures | tables)
    entity, online = run.entity, not run.offline
    run.finish()
    if online:
        save_workspace(sections, cfg, entity)


def save_workspace(sections: list[Section], cfg: DetailsConfig, entity: str) -> str:
    """Save a workspace that shows the report's panels beside the training metrics; return its address."""
    import wandb_workspaces.reports.v2 as panels
    import wandb_workspaces.workspaces as workspaces

    shown = training_sections()[:1]
    shown += [
        workspaces.Section(
            name=section.title,
            panels=[panels.MediaBrowser(media_keys=[f"{key}/{name}"]) for name in section.figures],
            is_open=True,
        )
        for key, section in zip(keys_of(sections), sections, strict=True)
        if section.figures
    ]
    workspace = workspaces.Workspace(entity=entity, project=cfg.project, name=cfg.title, sections=shown)
    workspace.save()
    return str(workspace.url)


@entry(f"analysis/{NAME}", ReportConfig)
def main(cfg: ReportConfig, folder: Path) -> None:
    """Load the parts, render, write."""
    if not cfg.folders:
        raise AnalysisError("folders=[]: no folder is given; give folders=[runs/A,runs/B]")
    sections = [
        section for folder_name in cfg.folders for section in sections_of(Path(folder_name).expanduser())
    ]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.html"
    partial = path.with_suffix(".partial")
    partial.write_text(render(sections, cfg.report.title), encoding="utf-8")
    partial.replace(path)
    if cfg.report.wandb:
        log_to_wandb(sections, cfg.report, folder)
    console.print(f"written to {path}")


if __name__ == "__main__":
    main()
