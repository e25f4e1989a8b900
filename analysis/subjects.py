"""``python -m analysis.subjects 'policies={base: runs/A, rl: runs/B}'``: where code helps.

Accuracy and tool-use rate of every arm by subject and by level, and the differences between arms.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from analysis.config import AnalysisConfig
from analysis.data import load_arms, settings
from analysis.output import Output, band, interval, legend_below, look, percent_axis, show, subplots
from analysis.pairs import LENIENT, STRAGGLERS, pairs_of, sampled, side_by_side
from analysis.stats import Estimate, mean_interval
from analysis.verdicts import difference
from src.config.schema import option
from src.launch.entry import entry
from src.run.intervals import DIFFERENCE, SHARE

NAME = "subjects"
ALL = "all"


@dataclass
class SubjectsConfig(AnalysisConfig):
    """Settings of this analysis."""

    pairs: list[list[str]] | None = option(
        None, "pairs of arms to compare; null: those that share policy or mode"
    )


def per_problem(table: pl.DataFrame) -> pl.DataFrame:
    """Return trajectories ``n``, ``stragglers``, accuracy and tool-use rate per problem and arm."""
    return (
        table.group_by("arm", "policy", "mode", "problem_id", "subject", "level")
        .agg(
            pl.len().alias("n"),
            STRAGGLERS,
            pl.col("correct").mean().alias("accuracy"),
            LENIENT,
            (pl.col("executions") > 0).mean().alias("tool_use"),
        )
        .with_columns(pl.col("subject").fill_null("none"))
        .sort("arm", "problem_id")
    )


def groups(problems: pl.DataFrame) -> list[tuple[str, Any, pl.Expr]]:
    """Return kind, name and filter of every reported group: all, each subject, each level."""
    found: list[tuple[str, Any, pl.Expr]] = [(ALL, ALL, pl.lit(value=True))]
    for kind in ("subject", "level"):
        for name in problems[kind].drop_nulls().unique().sort():
            found.append((kind, name, pl.col(kind) == name))
    return found


def measures(problems: pl.DataFrame) -> list[str]:
    """Return the measures to table: the lenient accuracy if every trajectory was also graded leniently."""
    lenient = ["accuracy_lenient"] * (problems["accuracy_lenient"].null_count() == 0)
    return ["accuracy", *lenient, "tool_use"]


def accuracies(problems: pl.DataFrame, cfg: SubjectsConfig) -> list[dict[str, Any]]:
    """Return accuracy and tool-use rate of every arm in every group."""
    rows = []
    for (arm,), mine in problems.group_by("arm", maintain_order=True):
        for kind, name, chosen in groups(problems):
            group = mine.filter(chosen)
            if group.is_empty():
                continue
            for measure in measures(problems):
                estimate = mean_interval(
                    group[measure].to_numpy(), SHARE, cfg.resamples, cfg.confidence, cfg.seed
                )
                rows.append(
                    {"arm": arm, "kind": kind, "name": str(name), "measure": measure, **asdict(estimate),
                     "k": sampled(group), "stragglers": int(group["stragglers"].sum())}
                )  # fmt: skip
    return rows


def differences(problems: pl.DataFrame, cfg: SubjectsConfig) -> list[dict[str, Any]]:
    """Return, for each pair and group, the second arm's accuracy minus the first's, paired by problem."""
    rows = []
    for first, second in pairs_of(problems, cfg.pairs):
        both = side_by_side(problems, first, second)
        for kind, name, chosen in groups(problems):
            group = both.filter(chosen)
            if group.is_empty():
                continue
            gain = (group["accuracy_other"] - group["accuracy"]).to_numpy()
            estimate = mean_interval(gain, DIFFERENCE, cfg.resamples, cfg.confidence, cfg.seed)
            rows.append(
                {"first": first, "second": second, "kind": kind, "name": str(name), **asdict(estimate),
                 "k": sampled(group)}
            )  # fmt: skip
    return rows


def verdicts(gains: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each difference over all problems and within a subject."""
    return [
        difference(
            "accuracy" if gain["kind"] == ALL else f"accuracy in {gain['name']}",
            gain["second"], gain["first"],
            Estimate.of(gain), None, gain["n"], gain["k"],
        )
        for gain in gains
        if gain["kind"] != "level"
    ]  # fmt: skip


def draw(rows: list[dict[str, Any]], gains: list[dict[str, Any]], cfg: SubjectsConfig) -> Any:
    """Draw accuracy by subject and by level, and the gains by subject."""
    figure, ((first, second, third),) = subplots(3, width=5.4, height=4.8)
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    accuracy = [row for row in rows if row["measure"] == "accuracy"]

    def dots(axes: Any, names: list[str], found: list[dict[str, Any]], label: str, of: list[str]) -> None:
        for index, row in enumerate(found):
            shift = (of.index(row[label]) - (len(of) - 1) / 2) * 0.7 / max(1, len(of))
            interval(
                axes, row, names.index(row["name"]) + shift, ms=5, capsize=3,
                color=look(of, row[label])["color"],
                label=row[label] if all(r[label] != row[label] for r in found[:index]) else None,
            )  # fmt: skip
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        percent_axis(axes, "x")

    named = [row for row in accuracy if row["kind"] in ("subject", ALL)]
    names = list(dict.fromkeys(row["name"] for row in named))
    sizes = {name: " or ".join(_sizes(row for row in named if row["name"] == name)) for name in names}
    dots(first, names, named, "arm", arms)
    first.set_yticks(range(len(names)), [f"{name}\n{sizes[name]}" for name in names])
    first.set(xlabel="accuracy", title="by subject; problems x trajectories", xlim=(0, 1))
    legend_below(first)
    levels = [row for row in accuracy if row["kind"] == "level"]
    for arm in arms:
        mine = [row for row in levels if row["arm"] == arm]
        names_, values = [r["name"] for r in mine], [r["value"] for r in mine]
        second.plot(names_, values, marker="o", label=arm, **look(arms, arm))
        lows, highs = [r["low"] for r in mine], [r["high"] for r in mine]
        band(second, names_, lows, highs, look(arms, arm)["color"])
    second.set(
        xlabel=f"level\n{' or '.join(_sizes(levels))} problems x trajectories" if levels else "level",
        ylabel="accuracy",
        title="by level" if levels else "no levels given",
        ylim=(0, 1),
    )
    percent_axis(second)
    shown = [
        {**row, "pair": f"{row['second']} - {row['first']}"}
        for row in gains
        if row["kind"] in ("subject", ALL)
    ]
    dots(third, names, shown, "pair", list(dict.fromkeys(row["pair"] for row in shown)))
    third.axvline(0, color="0.4", lw=1)
    third.set(xlabel="difference in accuracy", title=f"paired; {cfg.confidence:.0%} intervals over problems")
    legend_below(third)
    return figure


@entry(f"analysis/{NAME}", SubjectsConfig)
def main(cfg: SubjectsConfig, folder: Path) -> None:
    """Load the records, average, write tables and figures."""
    problems = per_problem(load_arms(cfg.policies, cfg.modes))
    rows, gains = accuracies(problems, cfg), differences(problems, cfg)
    output = Output(folder, settings(cfg))
    output.table(NAME, pl.DataFrame(rows))
    output.table("differences", pl.DataFrame(gains) if gains else pl.DataFrame({"first": []}))
    output.json(
        NAME, {"accuracies": rows, "differences": gains, "verdicts": output.verdicts(verdicts(gains))}
    )
    output.figure(NAME, draw(rows, gains, cfg))
    names = list(dict.fromkeys((row["kind"], row["name"]) for row in rows))
    for measure in measures(problems):
        found = {(r["arm"], r["kind"], r["name"]): r for r in rows if r["measure"] == measure}
        arms = list(dict.fromkeys(row["arm"] for row in rows))
        late = [found[arm, ALL, ALL]["stragglers"] for arm in arms]
        show(
            f"{measure.replace('_', ' ')} by subject and level; n: problems x trajectories",
            ["group", "n", *arms],
            [
                [f"{kind} {name}" if kind == "level" else name,
                 " or ".join(_sizes(found[arm, kind, name] for arm in arms if (arm, kind, name) in found)),
                 *(_short(found.get((arm, kind, name))) for arm in arms)]
                for kind, name in names
            ] + [["stragglers", "", *late]] * any(late),
        )  # fmt: skip
    show(
        "second minus first; n: problems x trajectories",
        ["first", "second", "group", "n", "difference"],
        [
            [g["first"], g["second"], g["name"], *_sizes([g]), _short(g)]
            for g in gains
            if g["kind"] != "level"
        ],
    )
    output.done()


def _sizes(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Return the distinct sizes, problems x trajectories, such as ``20 x 8``."""
    return list(dict.fromkeys(f"{row['n']} x {row['k']}" for row in rows))


def _short(row: dict[str, Any] | None) -> str:
    return str(Estimate.of(row)) if row else ""


if __name__ == "__main__":
    main()
