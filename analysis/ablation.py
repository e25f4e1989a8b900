"""``python -m analysis.ablation 'arms={NAME: [runs/A, runs/B], NAME: [...]}'``: the effect of one idea.

Arms differ in one idea and have a run for each of several seeds, the same in every arm. Reports held-out
accuracy and measures of the training curves, of each arm and against the baseline, with intervals and
sentences.

Intervals of held-out accuracies treat both seeds and problems as random samples; those of curves are
Student's t over seeds; differences are paired. A difference is reported if its interval excludes 0 and p,
adjusted for the arms compared in the same measure (Holm), is significant; if only the interval excludes 0, it
is undecided.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from analysis.ablation_figures import draw_curves, draw_measures
from analysis.arms import Arms, load_heldout, load_runs, run_settings
from analysis.data import AnalysisError
from analysis.measures import CHANGES, Measure, Windows
from analysis.output import Output, show
from analysis.stats import Floats, Mean, crossed_interval, t_interval
from analysis.verdicts import adjusted, change, difference, numbers
from src.config.schema import option
from src.launch.entry import entry
from src.run import renamed
from src.run.console import span
from src.run.intervals import DIFFERENCE, SHARE

NAME = "ablation"
HELDOUT = "held-out accuracy"


@dataclass
class AblationConfig:
    """Settings of this analysis."""

    arms: dict[str, list[str]] = option("???", "name -> folders of training runs, one per seed")
    baseline: str | None = option(None, "the arm that all others are compared with; null: the first")
    metrics: list[str] = option(["reward", "accuracy"], "metrics of metrics.jsonl to draw as curves")
    measures: list[str] = option(
        ["accuracy:last", "accuracy:gain", "reward:drop"],
        "METRIC:HOW, one number per run; see analysis/measures.py",
    )
    mode: str | None = option(
        "free", "mode of held-out accuracy; null: without", choices=("free", "text", "code")
    )
    last: int = option(10, "steps at either end, for last, first and gain", at_least=1)
    around: int = option(
        5, "steps of the linear trends before and after each rise of the budget, for rise", at_least=3
    )
    window: int = option(5, "steps of the running mean, for best and figures", at_least=1)
    confidence: float = option(0.95, "confidence level of intervals", above=0, below=1)


def measured(arms: Arms, baseline: str, measure: Measure, windows: Windows) -> dict[str, Floats]:
    """Return the measure of each arm's runs, in the order of seeds.

    For a run whose budget never rises, ``rise`` is measured where the budget of the baseline's run of the
    same seed rises, so that the comparison with the baseline is a difference in differences.
    """
    return {
        arm: np.array(
            [
                measure.of(run.curves[measure.metric], windows, run.rises or twin.rises)
                if measure.metric in run.curves
                else np.nan
                for run, twin in zip(runs, arms[baseline], strict=True)
            ]
        )
        for arm, runs in arms.items()
    }


def row(
    arm: str, measure: str, found: Mean, of_seeds: Floats, problems: int | None, k: str | None
) -> dict[str, Any]:
    """Return the row of an arm and a measure; ``of_seeds`` are the values of its runs."""
    known = of_seeds[np.isfinite(of_seeds)]
    return {
        "arm": arm, "measure": measure, "value": found.value, "low": found.low, "high": found.high,
        "seeds": known.size, "problems": problems, "k": k, "of_seeds": of_seeds.tolist(),
    }  # fmt: skip


def on_curves(
    arms: Arms, baseline: str, measures: list[Measure], cfg: AblationConfig
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of all arms and measures, and the verdicts."""
    windows = Windows(cfg.last, cfg.around, cfg.window)
    rows, verdicts = [], []
    for measure in measures:
        values = measured(arms, baseline, measure, windows)
        for arm, mine in values.items():
            found = t_interval(mine[np.isfinite(mine)], cfg.confidence, measure.bounds)
            rows.append(row(arm, str(measure), found, mine, None, None))
            if arm != baseline:
                # ignore differences by rounding
                gaps = np.round(mine - values[baseline], 12)
                gap = t_interval(gaps[np.isfinite(gaps)], cfg.confidence, measure.gap_bounds)
                verdicts.append(difference(str(measure), arm, baseline, gap, gap.n, None))
            elif len(arms) == 1 and measure.how in CHANGES:
                verdicts.append(change(str(measure), arm, found, found.n))
    return rows, verdicts


def on_problems(
    arms: Arms, baseline: str, cfg: AblationConfig
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], int]:
    """Return rows and verdicts of held-out accuracies, and the number of excluded problems."""
    if cfg.mode is None:
        return [], [], 0
    heldout = load_heldout(arms, cfg.mode)
    k = span(*heldout.k)
    rows, verdicts = [], []
    for arm, values in heldout.values.items():
        seeds, problems = values.shape
        found = crossed_interval(values, cfg.confidence, SHARE)
        rows.append(row(arm, HELDOUT, found, values.mean(axis=1), problems, k))
        if arm != baseline:
            gap = crossed_interval(values - heldout.values[baseline], cfg.confidence, DIFFERENCE)
            verdicts.append(difference(HELDOUT, arm, baseline, gap, seeds, problems, k))
    return rows, verdicts, heldout.left_out


def curves(arms: Arms, metrics: list[str]) -> pl.DataFrame:
    """Return mean, minimum and maximum over seeds for each arm, metric and step."""
    tables = []
    for arm, runs in arms.items():
        for metric in dict.fromkeys(["budget", *metrics]):
            nothing = np.full(len(runs[0].steps), np.nan)
            table = pl.DataFrame({str(run.seed): run.curves.get(metric, nothing) for run in runs})
            table = table.fill_nan(None)
            tables.append(
                table.select(
                    pl.lit(arm).alias("arm"), pl.lit(metric).alias("metric"),
                    pl.Series("step", runs[0].steps),
                    pl.mean_horizontal(pl.all()).alias("mean"), pl.min_horizontal(pl.all()).alias("min"),
                    pl.max_horizontal(pl.all()).alias("max"),
                    pl.sum_horizontal(pl.all().is_not_null().cast(pl.Int64)).alias("seeds"),
                )
            )  # fmt: skip
    return pl.concat(tables)


def check(cfg: AblationConfig) -> tuple[Arms, str, list[Measure]]:
    """Return the runs, the baseline and the measures. Raises AnalysisError."""
    measures = [Measure.parse(text, f"measures[{i}]") for i, text in enumerate(cfg.measures)]
    cfg.metrics = [renamed.metric(metric) for metric in cfg.metrics]
    arms = load_runs(cfg.arms, [*cfg.metrics, *(measure.metric for measure in measures)])
    baseline = next(iter(arms)) if cfg.baseline is None else cfg.baseline
    if baseline not in arms:
        raise AnalysisError(f"baseline={baseline}: choose one of the arms {', '.join(arms)}")
    steps = len(arms[baseline][0].steps)
    if 2 * cfg.last > steps and any(measure.how == "gain" for measure in measures):
        raise AnalysisError(
            f"last={cfg.last}: a gain compares the first with the last {cfg.last} of {steps} steps, which "
            f"overlap; give last={max(1, steps // 2)} at most"
        )
    return arms, baseline, measures


@entry(f"analysis/{NAME}", AblationConfig)
def main(cfg: AblationConfig, folder: Path) -> None:
    """Load the runs, compare, write tables and figures."""
    arms, baseline, measures = check(cfg)
    seeds = [run.seed for run in arms[baseline]]
    rows, verdicts, left_out = on_problems(arms, baseline, cfg)
    more_rows, more_verdicts = on_curves(arms, baseline, measures, cfg)
    rows, verdicts = rows + more_rows, adjusted(verdicts + more_verdicts, cfg.confidence)
    output = Output(folder, {"analysis": asdict(cfg), "runs": run_settings(arms)})
    flat = [row | {"of_seeds": " ".join(f"{x:.6g}" for x in row["of_seeds"])} for row in rows]
    output.table(NAME, pl.DataFrame(flat, infer_schema_length=None).fill_nan(None))
    output.verdicts(verdicts)
    output.table("curves", curves(arms, cfg.metrics))
    output.json(
        NAME,
        {
            "baseline": baseline, "seeds": seeds, "comparisons": len(verdicts), "problems_left_out": left_out,
            "arms": rows, "verdicts": verdicts,
        },
    )  # fmt: skip
    if cfg.metrics:
        output.figure("curves", draw_curves(arms, cfg.metrics, cfg.window))
    if rows:
        windows = Windows(cfg.last, cfg.around, cfg.window)
        output.figure(NAME, draw_measures(rows, list(arms), windows, cfg.confidence))
    show(
        f"arms: mean over seeds ({len(seeds)}) with {cfg.confidence:.0%} intervals",
        ["measure", *arms],
        [
            [name, *(_short(row) for row in rows if row["measure"] == name)]
            for name in dict.fromkeys(row["measure"] for row in rows)
        ],
    )
    show(
        f"comparisons ({len(verdicts)}), with {cfg.confidence:.0%} intervals; Holm: p adjusted for the arms "
        "compared in the same measure; problems x trajectories of each",
        ["", "p", "Holm"],
        [[row["sentence"], _p(row["p"]), _p(row["p_holm"])] for row in verdicts],
    )
    if left_out:
        show(
            f"{left_out} problems are left out: some run lost all their trajectories to the infrastructure",
            [],
            [],
        )
    output.done()


def _short(row: dict[str, Any]) -> str:
    return numbers(Mean(row["value"], row["low"], row["high"], row["seeds"], float("nan")))


def _p(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.2g}"


if __name__ == "__main__":
    main()
