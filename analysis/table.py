"""``python -m analysis.table 'policies={rl: {MATH500: runs/A, AIME24: runs/B}}'``: policies over benchmarks.

Accuracy of every policy in every mode on every benchmark, strict and lenient, with interval and size, and the
mean over the benchmarks where an arm has all of them; below them published figures, with their sources, from
one data file. On the terminal, and as CSV, Markdown and LaTeX. A cell without a value says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from analysis.config import IntervalConfig
from analysis.data import AnalysisError, load_arms, settings
from analysis.output import Output, interval, legend_below, look, percent_axis, subplots
from analysis.pairs import LENIENT, STRAGGLERS, sampled
from analysis.published import DEFAULT, PublishedConfig, load_published
from analysis.stats import Estimate, mean_interval
from analysis.table_forms import grid, latex, markdown, notes_of, print_grid
from src.config.schema import option
from src.launch.entry import entry
from src.run.intervals import SHARE

NAME = "table"
MEAN = "mean"
GRADINGS = {"strict": "accuracy", "lenient": "accuracy_lenient"}
MEASURED, MISSING, PUBLISHED, PRINTED = "measured", "missing", "published", "printed"


@dataclass
class TableConfig(IntervalConfig):
    """Settings of this analysis."""

    policies: dict[str, dict[str, str | list[str]]] = option(
        "???",
        "name -> benchmark -> folder of an evaluation, or a list of these, each with different modes; a "
        "benchmark that only some policies have is missing in the rows of the others",
    )
    benchmarks: list[str] | None = option(
        None, "the columns, in this order; null: the benchmarks of all policies, as they first occur"
    )
    published: str | None = option(DEFAULT, "the file of published figures, with their sources; null: none")
    published_rows: list[str] | None = option(None, "names of its rows; null: all")


def columns_of(cfg: TableConfig) -> list[str]:
    """Return the benchmarks of the table. Raises AnalysisError if there are none, or one is left out."""
    given = list(dict.fromkeys(name for sources in cfg.policies.values() for name in sources))
    faults = [
        f"policies.{policy}={{}}: no benchmark is given; give {{AIME24: FOLDER}}"
        for policy, sources in cfg.policies.items()
        if not sources
    ]
    if not cfg.policies:
        faults.append("policies={}: no policy is given; give policies='{rl: {AIME24: runs/A}}'")
    if MEAN in given:
        faults.append(f"policies: no benchmark can have the name {MEAN}; give it another")
    columns = given if cfg.benchmarks is None else cfg.benchmarks
    if len(set(columns)) < len(columns):
        faults.append(f"benchmarks={columns}: give each once")
    left_out = [name for name in given if name not in columns]
    if left_out:
        faults.append(
            f"benchmarks={columns}: policies has {', '.join(left_out)}, too; add it, or remove it there"
        )
    if faults:
        raise AnalysisError(*faults)
    return columns


def per_problem(cfg: TableConfig, columns: list[str], known: set[str]) -> pl.DataFrame:
    """Return accuracy and trajectories ``n`` of each problem, with its benchmark, policy, mode and arm.

    Args:
        cfg: the settings.
        columns: the benchmarks.
        known: names of benchmarks; records of another one of these are refused.

    Raises:
        AnalysisError: see ``load_arms``; or the problems are of another benchmark.
    """
    tables, faults = [], []
    for benchmark in columns:
        policies = {
            name: sources[benchmark] for name, sources in cfg.policies.items() if benchmark in sources
        }
        if not policies:
            continue
        table = load_arms(policies)
        for policy, source in table.select("policy", "source").unique(maintain_order=True).iter_rows():
            if source != benchmark and source in known:
                faults.append(
                    f"policies.{policy}.{benchmark}={policies[policy]}: its problems are of {source}; give "
                    "that name, or the folder of another evaluation"
                )
        tables.append(
            table.group_by("policy", "mode", "problem_id")
            .agg(pl.len().alias("n"), pl.col("correct").mean().alias("accuracy"), LENIENT, STRAGGLERS)
            .select(
                pl.lit(benchmark).alias("benchmark"),
                pl.format("{}_{}", "policy", "mode").alias("arm"),
                pl.all(),
            )
        )
    if faults:
        raise AnalysisError(*faults)
    problems = pl.concat(tables).filter(pl.col("mode").is_in(cfg.modes) if cfg.modes is not None else True)
    if problems.is_empty():
        raise AnalysisError(
            f"modes={cfg.modes}: the records of these policies have none of these modes; choose others"
        )
    return problems.sort("arm", "benchmark", "problem_id")


def arms_of(problems: pl.DataFrame, cfg: TableConfig) -> list[tuple[str, str, str]]:
    """Return arm, policy and mode of every row of the table, in the order of the policies."""
    found = set(problems.select("arm", "policy", "mode").unique().rows())
    order = [
        (f"{policy}_{mode}", policy, mode) for policy in cfg.policies for mode in ("free", "text", "code")
    ]
    return [one for one in order if one in found]


def mean_of(cells: list[Estimate]) -> Estimate:
    """Return the mean of independent accuracies, each with the same weight, and its interval.

    The distances of the limits from the values add in quadrature (Zou and Donner 2008, MOVER), so that the
    interval has whatever the intervals of the benchmarks allow for. ``n`` is the number of all problems.
    """
    number = len(cells)
    value = math.fsum(cell.value for cell in cells) / number
    below = math.hypot(*(cell.value - cell.low for cell in cells)) / number
    above = math.hypot(*(cell.high - cell.value for cell in cells)) / number
    return Estimate(value, max(0.0, value - below), min(1.0, value + above), sum(cell.n for cell in cells))


def cells(problems: pl.DataFrame, columns: list[str], cfg: TableConfig) -> Iterator[dict[str, Any]]:
    """Yield a row for each arm, grading and benchmark, and for the mean; those without a value, too."""
    for arm, policy, mode in arms_of(problems, cfg):
        for grading, measure in GRADINGS.items():
            base = {"kind": MEASURED, "name": arm, "policy": policy, "mode": mode, "grading": grading}
            found: list[Estimate] = []
            for benchmark in columns:
                group = problems.filter((pl.col("arm") == arm) & (pl.col("benchmark") == benchmark))
                if group.is_empty() or group[measure].null_count():
                    yield base | {"benchmark": benchmark, "state": MISSING}
                    continue
                estimate = mean_interval(
                    group[measure].to_numpy(), SHARE, cfg.resamples, cfg.confidence, cfg.seed
                )
                found.append(estimate)
                late = int(group["stragglers"].sum())
                size = {"k": sampled(group), "stragglers": late}
                yield base | {"benchmark": benchmark, "state": MEASURED, **asdict(estimate), **size}
            if len(columns) > 1:
                whole = len(found) == len(columns)
                mean = {"state": MEASURED, **asdict(mean_of(found))} if whole else {"state": MISSING}
                yield base | {"benchmark": MEAN, **mean}


def published_cells(
    published: PublishedConfig, chosen: list[str] | None, columns: list[str]
) -> Iterator[dict[str, Any]]:
    """Yield a row for each published row and benchmark, and for its mean and the printed one."""
    for row in published.rows:
        if chosen is not None and row.name not in chosen:
            continue
        base = {"kind": PUBLISHED, "name": row.name, "source": str(published.sources[row.source])}
        for benchmark in columns:
            value = row.accuracies.get(benchmark)
            found = {"state": MISSING} if value is None else {"state": PUBLISHED, "value": value / 100}
            yield base | {"benchmark": benchmark, **found}
        if len(columns) > 1:
            mean, printed = published.means(row, columns)
            found = {"state": MISSING} if mean is None else {"state": PUBLISHED, "value": mean / 100}
            yield base | {"benchmark": MEAN, **found}
            if printed is not None:
                yield base | {"benchmark": MEAN, "state": PRINTED, "value": printed / 100}


_SCHEMA = {
    **dict.fromkeys(("kind", "name", "policy", "mode", "grading", "benchmark", "state"), pl.String),
    **dict.fromkeys(("value", "low", "high"), pl.Float64),
    "n": pl.Int64,
    "k": pl.String,
    "stragglers": pl.Int64,
    "source": pl.String,
}


def chosen_rows(published: PublishedConfig, chosen: list[str] | None) -> None:
    """Raise AnalysisError if a chosen published row does not exist."""
    names = [row.name for row in published.rows]
    unknown = [name for name in chosen or [] if name not in names]
    if unknown:
        raise AnalysisError(f"published_rows: there is no {', '.join(unknown)}; choose {'; '.join(names)}")


def draw(rows: list[dict[str, Any]], columns: list[str], cfg: TableConfig) -> Any:
    """Draw the strict accuracies with their intervals, and the published ones as crosses."""
    places = [*columns, *([MEAN] if len(columns) > 1 else [])]
    figure, ((axes,),) = subplots(width=8.0, height=2.0 + 0.9 * len(places))
    shown = [row for row in rows if row.get("grading") != "lenient" and row["state"] in (MEASURED, PUBLISHED)]
    names = list(dict.fromkeys(row["name"] for row in shown))
    drawn = set()
    for row in shown:
        name = row["name"]
        shift = (names.index(name) - (len(names) - 1) / 2) * 0.7 / len(names)
        style = {"color": look(names, name)["color"], "label": None if name in drawn else name}
        limits = {"low": math.nan, "high": math.nan} | row
        mark = "o" if row["kind"] == MEASURED else "x"
        interval(axes, limits, places.index(row["benchmark"]) + shift, fmt=mark, ms=6, **style)
        drawn.add(name)
    axes.set_yticks(range(len(places)), places)
    axes.set_ylim(len(places) - 0.4, -0.6)
    axes.set(
        xlabel=f"accuracy, {cfg.confidence:.0%} intervals over problems; crosses: published", xlim=(0, 1)
    )
    percent_axis(axes, "x")
    legend_below(axes)
    return figure


@entry(f"analysis/{NAME}", TableConfig)
def main(cfg: TableConfig, folder: Path) -> None:
    """Load the records and the published figures, average, write the table in all forms."""
    columns = columns_of(cfg)
    published = load_published(cfg.published)
    chosen_rows(published, cfg.published_rows)
    known = {name for row in published.rows for name in row.accuracies} | set(columns)
    problems = per_problem(cfg, columns, known)
    ours = list(cells(problems, columns, cfg))
    theirs = list(published_cells(published, cfg.published_rows, columns))
    given = settings(cfg)
    notes = notes_of(ours, theirs, published, given["runs"], cfg.confidence)
    table = grid(ours, theirs, columns)
    output = Output(folder, given)
    output.table(NAME, pl.DataFrame([*ours, *theirs], schema=_SCHEMA))
    output.text(f"{NAME}.md", markdown(table, notes))
    output.text(f"{NAME}.tex", latex(table, notes))
    output.json(NAME, {"accuracies": ours, "published": theirs, "notes": notes})
    output.figure(NAME, draw([*ours, *theirs], columns, cfg))
    print_grid(table, notes)
    output.done()


if __name__ == "__main__":
    main()
