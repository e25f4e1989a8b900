"""W&B workspaces as code: one to follow training runs, one to compare arms.

Names of metrics are those that src/run/tracking/tracker.py logs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from src.run.tracking import panels
from src.run.tracking.panels import CURVES

TRAINING, ARMS = "training", "arms"
SAMPLES = "train/samples"
_ARM = "arm"  # the setting that names the overrides without seeds


def workspace(kind: str, entity: str, project: str, curves: Sequence[str] = CURVES) -> Any:
    """Return a workspace, not saved.

    Args:
        kind: training or arms.
        entity: account or team.
        project: W&B project.
        curves: which accuracies are shown, as BENCHMARK/MODE.
    """
    import wandb_workspaces.workspaces as ws

    final = [f"final/{curve}/accuracy" for curve in curves]
    arms = kind == ARMS
    return ws.Workspace(
        entity=entity,
        project=project,
        name="Arms" if arms else "Training",
        sections=arm_sections(curves) if arms else training_sections(curves),
        settings=ws.WorkspaceSettings(x_axis="train/step", group_by_prefix="first"),
        runset_settings=ws.RunsetSettings(
            groupby=[ws.Config(_ARM)] if arms else [],
            pinned_columns=[f"summary:{name}" for name in final] + [f"config:{_ARM}"] * arms,
        ),
        auto_generate_panels=True,  # all else that a run logs, below
    )


def spec(made: Any) -> dict[str, Any]:
    """Return the view that :meth:`Workspace.save` sends to W&B."""
    view = made._to_model()
    return {
        "displayName": view.display_name,
        "spec": json.loads(view.spec.model_dump_json(by_alias=True, exclude_none=True)),
    }


def training_sections(curves: Sequence[str] = CURVES) -> list[Any]:
    """Return the sections of the workspace for training runs."""
    import wandb_workspaces.reports.v2 as wr

    sections = {name: [_train(panel) for panel in found] for name, found in panels.TRAINING.items()}
    sections["progress"].insert(2, _accuracy("accuracy on benchmarks", curves))
    table = _section("samples", wr.WeavePanelSummaryTable(table_name=SAMPLES), columns=1)
    return [*(_section(name, *found) for name, found in sections.items()), table]


def arm_sections(curves: Sequence[str] = CURVES) -> list[Any]:
    """Return the sections of the workspace for arms; runs with the same overrides but for seeds are one."""
    import wandb_workspaces.reports.v2 as wr

    grouped: dict[str, Any] = {
        "groupby": wr.Config(_ARM),
        "groupby_aggfunc": "mean",
        "groupby_rangefunc": "minmax",
    }
    bars = [
        wr.BarPlot(
            title=f"final accuracy, {curve}", metrics=[f"final/{curve}/accuracy"], range_x=(0, 1), **grouped
        )
        for curve in curves
    ]
    names = ("reward", "accuracy", "entropy", "executions_per_trajectory", "tokens/policy", "seconds/step")
    return [
        _section("final accuracy", *bars, rows=1),
        _section(
            "accuracy over training",
            *(_accuracy(f"accuracy, {curve}", [curve], **grouped) for curve in curves),
            rows=1,
        ),
        _section("training", *(_train(panels.Panel(name, [name]), **grouped) for name in names)),
        _section("settings", wr.RunComparer(diff_only="split"), columns=1),
    ]


def _section(name: str, *panels: Any, columns: int = 3, rows: int = 2) -> Any:
    import wandb_workspaces.workspaces as ws

    layout = ws.SectionLayoutSettings(columns=columns, rows=rows)
    return ws.Section(name=name, panels=list(panels), is_open=True, layout_settings=layout)


def _train(panel: panels.Panel, **options: Any) -> Any:
    import wandb_workspaces.reports.v2 as wr

    y = [f"train/{name}" for name in panel.names]
    if panel.share:
        options["range_y"] = (0, 1)
    if panel.parts:
        options["plot_type"] = "stacked-area"
    return wr.LinePlot(title=panel.title, x="train/step", y=y, **options)


def _accuracy(title: str, curves: Sequence[str], **options: Any) -> Any:
    import wandb_workspaces.reports.v2 as wr

    y = [f"eval/{curve}/accuracy" for curve in curves]
    return wr.LinePlot(title=title, x="eval/step", y=y, range_y=(0, 1), **options)
