"""Figures of an ablation: curves of all arms, and every measure with its interval."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes

from analysis.arms import Arms
from analysis.measures import HOWS, SHARES, Windows
from analysis.output import band, interval, look, panels, percent_axis
from analysis.training_curves import smooth

# axis labels of common metrics, with units
LABELS = {
    "accuracy": "accuracy, fraction of trajectories",
    "reward": "mean reward per trajectory",
    "budget": "interaction budget, executions",
    "budget_exhausted_rate": "trajectories that exhaust the budget",
    "tool_use_rate": "trajectories with code",
    "executions_per_trajectory": "executions per trajectory",
    "execution_failure_rate": "executions that fail",
    "accuracy_after_failure": "accuracy of trajectories with a failed execution",
    "entropy": "entropy per policy token, nats",
    "grad_norm": "gradient norm before clipping",
    "clip_ratio/high_mean": "tokens clipped at the upper bound",
    "fabricated_output_rate": "trajectories with fabricated output",
    "stop/answered": "trajectories that end with an answer",
    "seconds/step": "seconds per step",
    "tokens/dropped_ratio": "sampled tokens thrown away",
    "tokens/policy": "policy tokens per trajectory",
    "tokens/feedback": "feedback tokens per trajectory",
    "held-out accuracy": "accuracy on held-out problems",
}


def draw_curves(arms: Arms, metrics: list[str], window: int) -> Any:
    """A panel for each metric: mean over seeds, and a band from the smallest to the largest seed."""
    figure, grid = panels(len(metrics), width=6.0, height=3.6)
    for axes, metric in zip(grid, metrics, strict=True):
        for arm, runs in arms.items():
            width = 1 if metric == "budget" else window  # a step function
            found = [smooth(pl.Series(run.curves[metric], nan_to_null=True), width).to_numpy()
                     for run in runs if metric in run.curves]  # fmt: skip
            if not found:
                continue
            even = np.ma.masked_invalid(np.array(found, float))
            style = look(list(arms), arm)
            axes.plot(runs[0].steps, even.mean(axis=0), linewidth=2, label=arm, **style)
            if len(found) > 1:
                band(axes, runs[0].steps, even.min(axis=0), even.max(axis=0), style["color"])
        _mark_rises(axes, arms)
        axes.set(xlabel="rollout step", ylabel=LABELS.get(metric, metric))
        if metric in SHARES:
            percent_axis(axes)
    handles = {label: line for axes in figure.axes
               for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}  # fmt: skip
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4)
    seeds = len(next(iter(arms.values())))
    figure.suptitle(
        f"mean over {seeds} seeds, centred running mean over {window} steps; band: lowest to highest seed"
        if seeds > 1
        else f"one seed, centred running mean over {window} steps",
        fontsize=12,
    )
    return figure


def _mark_rises(axes: Axes, arms: Arms) -> None:
    """Draw a dotted line where the budget rises, grey if it rises there in several arms."""
    marks = sorted(
        {(run.steps[at], run.curves["budget"][at], arm) for arm, runs in arms.items() for run in runs
         for at in run.rises}
    )  # fmt: skip
    named = set()  # the budget of an adaptive arm rises at different steps in each seed: labels would overlap
    for (step, budget), group in groupby(marks, key=lambda mark: mark[:2]):
        of = [arm for *_, arm in group]
        colour = look(list(arms), of[0])["color"] if len(of) == 1 else "0.4"
        axes.axvline(step, color=colour, linestyle=":", linewidth=1.2)
        if (budget, tuple(of)) in named:
            continue
        named.add((budget, tuple(of)))
        axes.annotate(
            f"budget {budget:.0f}", (step, 1), xycoords=("data", "axes fraction"), fontsize=9, rotation=90,
            xytext=(2, -3), textcoords="offset points", va="top", color=colour,
        )  # fmt: skip


def draw_measures(rows: list[dict[str, Any]], arms: list[str], windows: Windows, confidence: float) -> Any:
    """A panel for each measure: each arm with its interval, and its seeds as small dots."""
    names = list(dict.fromkeys(one["measure"] for one in rows))
    figure, grid = panels(len(names), width=5.8, height=1.5 + 0.42 * len(arms))
    for number, (axes, name) in enumerate(zip(grid, names, strict=True)):
        mine = [one for one in rows if one["measure"] == name]
        for place, one in enumerate(mine):
            colour = look(arms, one["arm"])["color"]
            below = [place + 0.24] * len(one["of_seeds"])
            axes.plot(one["of_seeds"], below, "o", ms=4, color=colour, alpha=0.6)
            interval(axes, one, place, ms=8, elinewidth=2, color=colour)
            if not np.isfinite(one["value"]):
                axes.annotate("no values", (0.02, place), xycoords=("axes fraction", "data"), va="center")
        axes.set_yticks(range(len(mine)), [one["arm"] for one in mine] if number % 2 == 0 else [])
        axes.set_ylim(len(mine) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.locator_params(axis="x", nbins=6)
        metric, _, how = name.rpartition(":")
        if how in HOWS:
            label = f"{LABELS.get(metric, metric)}\n{HOWS[how].format(**vars(windows))}"
        else:
            metric, label = name, LABELS[name]
        axes.set(xlabel=label, title=f"{name}  ({_size(mine)})")
        axes.title.set_fontsize(12)
        if metric in SHARES:
            percent_axis(axes, "x")
    figure.suptitle(f"{confidence:.0%} intervals of each arm; small dots: single seeds", fontsize=12)
    return figure


def _size(rows: list[dict[str, Any]]) -> str:
    seeds = sorted({row["seeds"] for row in rows})
    text = " or ".join(map(str, seeds)) + (" seed" if seeds == [1] else " seeds")
    return text + (f", {rows[0]['problems']} problems x {rows[0]['k']}" if rows[0]["problems"] else "")
