"""Accuracies of a policy on benchmarks over its training, for analysis.training_curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from analysis.output import legend_below, look, panels
from src.run.console import percent
from src.run.evaluations import read_points

_MARKERS = {"free": "o", "code": "s", "text": "^"}  # by mode
_SCHEMA = {
    "run": pl.String, "benchmark": pl.String, "mode": pl.String, "step": pl.Int64, "accuracy": pl.Float64,
    "low": pl.Float64, "high": pl.Float64, "problems": pl.Int64, "n": pl.Int64,
}  # fmt: skip


def load_points(runs: Mapping[str, str]) -> pl.DataFrame:
    """Return the accuracy of each evaluation with its 95 % interval (columns: ``_SCHEMA``), by step."""
    rows = [
        (name, point.benchmark, point.mode, point.step, result["accuracy"], *result["interval"],
         result["problems"], result["n"])
        for name, folder in runs.items()
        for point in read_points(Path(folder).expanduser())
        for result in [point.result]
        if result["accuracy"] is not None
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def draw_points(table: pl.DataFrame, rises: Mapping[str, Sequence[tuple[int, float]]]) -> Any:
    """Draw a panel for each benchmark.

    Args:
        table: of :func:`load_points`.
        rises: run -> the steps at which its interaction budget rises, with the new budget.
    """
    names = table["benchmark"].unique(maintain_order=True).to_list()
    runs = table["run"].unique(maintain_order=True).to_list()
    pairs = table.select("run", "mode").unique(maintain_order=True).rows()
    labels = {pair: pair[1] if len(runs) == 1 else ", ".join(pair) for pair in pairs}
    figure, grid = panels(len(names), width=6.0, height=3.6)
    for axes, name in zip(grid, names, strict=True):
        mine = table.filter(pl.col("benchmark") == name)
        for (run, mode), curve in mine.group_by("run", "mode", maintain_order=True):
            label = labels[str(run), str(mode)]
            style = look(list(labels.values()), label) | {"marker": _MARKERS[str(mode)], "markersize": 4}
            axes.plot(curve["step"], curve["accuracy"], label=label, **style)
            axes.fill_between(
                curve["step"], curve["low"], curve["high"], color=style["color"], alpha=0.15, linewidth=0
            )
        for step, budget in sorted({rise for run in runs for rise in rises.get(run, [])}):
            axes.axvline(step, color="0.4", linestyle=":", linewidth=1)
            axes.annotate(
                f"budget {budget:.0f}", (step, 1), xycoords=("data", "axes fraction"), fontsize=8,
                rotation=90, xytext=(2, -4), textcoords="offset points", va="top",
            )  # fmt: skip
        axes.set(xlabel="rollout steps done", ylabel="accuracy", title=f"{name}, {_size(mine)}")
        legend_below(axes, 3)
    figure.suptitle("accuracy of the policy over training, 95 % intervals", fontsize=11)
    return figure


def _size(table: pl.DataFrame) -> str:
    """Return ``n=PROBLEMS x K``; the largest, where evaluations differ."""
    problems, trajectories = table["problems"].max(), table["n"].max()
    assert isinstance(problems, int)
    assert isinstance(trajectories, int)
    return f"n={problems} x {trajectories // problems}"


def summary_rows(table: pl.DataFrame) -> list[list[Any]]:
    """Return run, benchmark, mode, and the first, last and best accuracy, each with its step."""
    rows = []
    for (run, benchmark, mode), curve in table.group_by("run", "benchmark", "mode", maintain_order=True):
        chosen = (0, len(curve) - 1, int(curve["accuracy"].arg_max() or 0))
        cells = []
        for row in (curve.row(index, named=True) for index in chosen):
            text = percent({"accuracy": row["accuracy"], "interval": [row["low"], row["high"]]})
            cells.append(f"{text} at {row['step']}")
        rows.append([run, benchmark, mode, *cells])
    return rows
