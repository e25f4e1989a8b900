"""``python -m analysis.compare 'policies={first: runs/A, second: runs/B}'``: is the second better?

Paired by problem, in each mode in which both were evaluated: difference of the problems' mean accuracies, its
interval over problems, the p value that corresponds to it, and a sentence. Problems that only one of the two
policies was evaluated on are left out, and listed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from analysis.config import AnalysisConfig
from analysis.data import AnalysisError, load_arms, settings
from analysis.output import Output, interval, percent_axis, show, subplots, where_any
from analysis.pairs import LENIENT, STRAGGLERS, sampled, side_by_side
from analysis.stats import Estimate, Mean, paired_interval
from src.launch.entry import entry

NAME = "compare"
_NAMED = 10  # at most this many unpaired problems are printed


@dataclass
class CompareConfig(AnalysisConfig):
    """Settings of this analysis: exactly two policies, the second minus the first."""


def compare(table: pl.DataFrame, first: str, second: str, cfg: CompareConfig) -> dict[str, Any]:
    """Return difference, interval and p value of two arms over their common problems.

    A problem counts once, however many trajectories it has in either arm.
    """
    problems = table.group_by("arm", "problem_id").agg(
        pl.len().alias("n"), pl.col("correct").mean().alias("accuracy"), LENIENT, STRAGGLERS
    )
    both = side_by_side(problems.sort("arm", "problem_id"), first, second)
    gain = (both["accuracy_other"] - both["accuracy"]).to_numpy()
    better, worse = int((gain > 0).sum()), int((gain < 0).sum())
    found = paired_interval(gain, cfg.resamples, cfg.confidence, cfg.seed)
    shared = set(both["problem_id"])
    alone = {
        arm: sorted(set(problems.filter(pl.col("arm") == arm)["problem_id"]) - shared)
        for arm in (first, second)
    }
    return {
        "first": first, "second": second, "k": sampled(both),
        "first_accuracy": float(both["accuracy"].mean()),  # type: ignore[arg-type]
        "second_accuracy": float(both["accuracy_other"].mean()),  # type: ignore[arg-type]
        "first_accuracy_lenient": _lenient(both["accuracy_lenient"]),
        "second_accuracy_lenient": _lenient(both["accuracy_lenient_other"]),
        "first_stragglers": int(both["stragglers"].sum()),
        "second_stragglers": int(both["stragglers_other"].sum()),
        "difference": asdict(found), "better": better, "worse": worse, "equal": gain.size - better - worse,
        "verdict": verdict(second, first, found, sampled(both)),
        "only_first": alone[first], "only_second": alone[second],
    }  # fmt: skip


def verdict(second: str, first: str, gain: Mean, k: str) -> str:
    """Return a sentence on the difference, which the interval supports."""
    if gain.low <= 0 <= gain.high:
        return f"{second} and {first} cannot be distinguished with {gain.n} problems x {k}"
    return f"{second} is {'better' if gain.value > 0 else 'worse'} than {first}"


def left_out(row: dict[str, Any]) -> str:
    """Return how many problems only one of the arms has; empty if none."""
    counts = {row[arm]: len(row[f"only_{arm}"]) for arm in ("first", "second")}
    return ", ".join(f"{count} only in {arm}" for arm, count in counts.items() if count)


def draw(found: dict[str, dict[str, Any]], cfg: CompareConfig) -> Any:
    """Draw the differences with their intervals."""
    figure, ((axes,),) = subplots(width=6.8, height=1.6 + 0.7 * len(found))
    for place, row in enumerate(found.values()):
        gain = row["difference"]
        interval(axes, gain, place, capsize=5, color="#0072B2")
        axes.annotate(
            f"{row['better']} better, {row['worse']} worse, p {_p(row, cfg)}",
            (gain["value"], place),
            xytext=(0, 8), textcoords="offset points", ha="center", fontsize=9,
        )  # fmt: skip
    first, second = (next(iter(found.values()))[name].rpartition("_")[0] for name in ("first", "second"))
    axes.axvline(0, color="0.4", lw=1)
    sizes = [
        f"{mode}\n{row['difference']['n']} x {row['k']}"
        + (f"\nleft out: {out}" if (out := left_out(row)) else "")
        for mode, row in found.items()
    ]
    axes.set_yticks(range(len(found)), sizes)
    axes.set_ylim(len(found) - 0.4, -0.7)
    axes.margins(x=0.3)
    axes.set(
        xlabel=f"accuracy of {second} minus {first}, {cfg.confidence:.0%} interval over problems\n"
        "(left: problems x trajectories)"
    )
    percent_axis(axes, "x")
    return figure


@entry(f"analysis/{NAME}", CompareConfig)
def main(cfg: CompareConfig, folder: Path) -> None:
    """Load the records, compare, write tables and figures."""
    if len(cfg.policies) != 2:
        raise AnalysisError(
            f"policies: {len(cfg.policies)} are given; give two; the second is compared with the first"
        )
    table = load_arms(cfg.policies, cfg.modes)
    first, second = cfg.policies
    common = [
        mode for mode in table["mode"].unique().sort()
        if table.filter(pl.col("mode") == mode)["policy"].n_unique() == 2
    ]  # fmt: skip
    if not common:
        raise AnalysisError(
            f"policies: {first} and {second} have no mode in common; evaluate both in the same mode"
        )
    found = {mode: compare(table.filter(pl.col("mode") == mode), f"{first}_{mode}", f"{second}_{mode}", cfg)
             for mode in common}  # fmt: skip
    output = Output(folder, settings(cfg))
    lists = ("only_first", "only_second")
    flat = [
        {"mode": mode, **{key: value for key, value in row.items() if key not in ("difference", *lists)},
         **{key: len(row[key]) for key in lists}, **row["difference"]}
        for mode, row in found.items()
    ]  # fmt: skip
    output.table(NAME, pl.DataFrame(flat))
    alone = [
        (mode, row[key.removeprefix("only_")], problem)
        for mode, row in found.items() for key in lists for problem in row[key]
    ]  # fmt: skip
    output.table("left_out", pl.DataFrame(alone, ["mode", "arm", "problem_id"], orient="row"))
    output.json(NAME, found)
    output.figure(NAME, draw(found, cfg))
    late = [f"{row['first_stragglers']} and {row['second_stragglers']}" for row in found.values()]
    graded, beside = where_any("lenient", [_both(row) for row in found.values()])
    heading, cells = where_any("stragglers", [counts if counts != "0 and 0" else "" for counts in late])
    show(
        f"{second} minus {first}, paired by problem; n: problems x trajectories",
        ["mode", "n", first, second, *graded, "difference", "better", "worse", "p", "", *heading],
        [
            [mode, f"{row['difference']['n']} x {row['k']}",
             f"{row['first_accuracy']:.3f}", f"{row['second_accuracy']:.3f}", *lenient,
             Estimate.of(row["difference"]), row["better"], row["worse"], _p(row, cfg), row["verdict"],
             *cell]
            for (mode, row), lenient, cell in zip(found.items(), beside, cells, strict=True)
        ],
    )  # fmt: skip
    for mode, row in found.items():
        if out := left_out(row):
            names = [*row["only_first"], *row["only_second"]]
            more = f" and {len(names) - _NAMED} more, in left_out.csv" if len(names) > _NAMED else ""
            show(f"{mode}: left out, {out}: {', '.join(names[:_NAMED])}{more}", [], [])
    output.done()


def _lenient(column: pl.Series) -> float | None:
    """Return the mean lenient accuracy; None if a problem has trajectories without that verdict."""
    return None if column.null_count() else float(column.mean())  # type: ignore[arg-type]


def _both(row: dict[str, Any]) -> str:
    """Return the lenient accuracies of both arms; empty if neither was graded so."""
    values = [row[f"{arm}_accuracy_lenient"] for arm in ("first", "second")]
    cells = ["-" if value is None else f"{value:.3f}" for value in values]
    return " and ".join(cells) if cells != ["-", "-"] else ""


def _p(row: dict[str, Any], cfg: CompareConfig) -> str:
    """Return p, not finer than the resamples are."""
    p = row["difference"]["p"]
    return f"< {1 / cfg.resamples:.2g}" if p <= 1 / cfg.resamples else f"= {p:.2g}"


if __name__ == "__main__":
    main()
