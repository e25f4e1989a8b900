"""``python -m analysis.training_curves 'runs={NAME: runs/A}'``: metrics over rollout steps.

Raw and smoothed curves of one or several runs, with marks where the interaction budget rises, and the jump of
each metric there, relative to its linear trends before and after. Of runs that were evaluated on the way
(``evaluate.every``, ``evaluate.benchmarks``), also the accuracies, with intervals: the paper's figure 3.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from analysis.data import AnalysisError, Source
from analysis.evaluation_curves import draw_points, load_points, summary_rows
from analysis.output import Output, legend_below, look, panels, show
from analysis.trends import level_change, spans
from src.config.schema import option
from src.launch.entry import entry
from src.run import renamed
from src.run.records import METRICS, RECORDS, read_metrics

NAME = "training_curves"


@dataclass
class TrainingCurvesConfig:
    """Settings of this analysis."""

    runs: dict[str, str] = option("???", "name -> folder of a training run")
    metrics: list[str] = option(
        ["accuracy", "executions_per_trajectory", "execution_failure_rate", "tokens/policy"],
        "metrics of metrics.jsonl",
    )
    window: int = option(5, "window of the running mean in steps", at_least=1)
    around: int = option(
        10,
        "steps of the linear trends before and after each rise of the budget",
        at_least=3,
    )
    confidence: float = option(0.95, "confidence level of intervals", above=0, below=1)


def load_runs(cfg: TrainingCurvesConfig) -> pl.DataFrame:
    """Return ``run, step, budget`` and the metrics; null: no value at that step. Raises AnalysisError."""
    cfg.metrics = [renamed.metric(metric) for metric in cfg.metrics]
    if not cfg.runs:
        raise AnalysisError("runs={}: no run is given; give runs='{NAME: runs/A}'")
    tables = []
    for name, text in cfg.runs.items():
        rows = read_metrics(Path(text).expanduser() / METRICS)
        if not rows:
            raise AnalysisError(
                f"runs.{name}={text}: its {METRICS} is missing or empty; give the folder of a training run"
            )
        known = sorted({key for row in rows for key in row})
        for metric in cfg.metrics:
            if metric not in known:
                raise AnalysisError(
                    f"metrics={metric}: {text} does not have it; choose from {', '.join(known)}"
                )
        names = ["step", "budget", *(metric for metric in cfg.metrics if metric not in ("step", "budget"))]
        columns = {column: [row.get(column) for row in rows] for column in names}
        types = {column: pl.Int64 if column == "step" else pl.Float64 for column in names}
        tables.append(
            pl.DataFrame(columns, schema=types, strict=False).select(pl.lit(name).alias("run"), pl.all())
        )
    return pl.concat(tables)


def smooth(values: pl.Series, window: int) -> pl.Series:
    """Return the centred running mean over ``window`` steps, fewer at the ends."""
    return values.rolling_mean(window, min_samples=1, center=True)


def rises(table: pl.DataFrame) -> list[int]:
    """Return the steps at which the budget of a run rises."""
    budget = table["budget"]
    return table.filter((budget > budget.shift(1)).fill_null(value=False))["step"].to_list()


def marks(table: pl.DataFrame) -> dict[str, list[tuple[int, float]]]:
    """Return, by run, the steps at which the budget rises, with the new budget."""
    return {
        str(run): [(step, mine.filter(pl.col("step") == step)["budget"].item()) for step in rises(mine)]
        for (run,), mine in table.group_by("run", maintain_order=True)
    }


def changes(table: pl.DataFrame, cfg: TrainingCurvesConfig) -> list[dict[str, Any]]:
    """Return, for each rise and metric, the jump relative to linear trends on both sides.

    See :func:`analysis.trends.level_change`. Trends span ``around`` steps, fewer near another rise.
    """
    rows = []
    for (run,), mine in table.group_by("run", maintain_order=True):
        steps, at_steps = mine["step"].to_numpy(), rises(mine)
        places = [int(np.searchsorted(steps, step)) for step in at_steps]
        for step, (first, at, end) in zip(at_steps, spans(places, cfg.around, len(steps)), strict=True):
            for metric in cfg.metrics:
                curve = mine[metric][first:end].to_numpy().astype(float)
                found = level_change(steps[first:end], curve, step, cfg.confidence)
                if np.isnan(found.value):
                    continue
                known = np.isfinite(curve)
                rows.append(
                    {
                        "run": run, "step": step, "budget": mine["budget"][at], "metric": metric,
                        "change": found.value, "low": found.low, "high": found.high,
                        "steps_before": int(known[: at - first].sum()),
                        "steps_after": int(known[at - first :].sum()),
                    }
                )  # fmt: skip
    return rows


def draw(table: pl.DataFrame, cfg: TrainingCurvesConfig) -> Any:
    """A panel for each metric."""
    figure, grid = panels(len(cfg.metrics), width=6.0, height=3.4)
    runs = list(cfg.runs)
    for axes, metric in zip(grid, cfg.metrics, strict=True):
        for (run,), mine in table.group_by("run", maintain_order=True):
            style = look(runs, str(run))
            axes.plot(mine["step"], mine[metric], alpha=0.3, linewidth=1, **style)
            axes.plot(mine["step"], smooth(mine[metric], cfg.window), linewidth=2, label=run, **style)
            for step in rises(mine):
                axes.axvline(step, color=style["color"], linestyle=":", linewidth=1)
                budget = mine.filter(pl.col("step") == step)["budget"].item()
                axes.annotate(
                    f"budget {budget:.0f}", (step, 1), xycoords=("data", "axes fraction"), fontsize=8,
                    rotation=90,
                    xytext=(2, -4), textcoords="offset points", va="top",
                )  # fmt: skip
        axes.set(xlabel="rollout step", ylabel=metric)
        if len(runs) > 1:
            legend_below(axes, min(4, len(runs)))
    figure.suptitle(f"raw, and the running mean of {cfg.window} steps", fontsize=11)
    return figure


@entry(f"analysis/{NAME}", TrainingCurvesConfig)
def main(cfg: TrainingCurvesConfig, folder: Path) -> None:
    """Load the metrics, compare, write tables and figures."""
    table = load_runs(cfg)
    found = changes(table, cfg)
    sources = {}
    for name, text in cfg.runs.items():
        source = Source.parse(text)
        sources[name] = source.settings() if (source.path / RECORDS).is_file() else {"records": text}
    output = Output(folder, {"analysis": asdict(cfg), "runs": sources})
    output.table(NAME, table)
    output.table("changes", pl.DataFrame(found) if found else pl.DataFrame({"run": []}))
    output.json(NAME, {"changes": found})
    output.figure(NAME, draw(table, cfg))
    points = load_points(cfg.runs)
    if not points.is_empty():
        output.table("evaluations", points)
        output.figure("evaluations", draw_points(points, marks(table)))
        show(
            "accuracy over training (best: chosen on these very problems, so it is too high)",
            ["run", "benchmark", "mode", "first", "last", "best"],
            summary_rows(points),
        )
    show(
        "last and best (smoothed)",
        ["run", "metric", "first", "last", "highest", "at step", "lowest", "at step"],
        [
            [run, metric, *(f"{x:.3g}" for x in (even[0], even[-1], even.max())),
             mine["step"][even.arg_max()], f"{even.min():.3g}", mine["step"][even.arg_min()]]
            for (run,), mine in table.group_by("run", maintain_order=True)
            for metric in cfg.metrics
            for even in [smooth(mine[metric], cfg.window)]
        ],
    )  # fmt: skip
    show(
        f"jump at each rise of the budget, relative to linear trends over at most {cfg.around} steps",
        ["run", "step", "budget", "metric", "steps", "change"],
        [
            [r["run"], r["step"], f"{r['budget']:.0f}", r["metric"],
             f"{r['steps_before']} + {r['steps_after']}",
             f"{r['change']:+.3g} [{r['low']:+.3g}, {r['high']:+.3g}]"]
            for r in found
        ],
    )  # fmt: skip
    output.done()


if __name__ == "__main__":
    main()
