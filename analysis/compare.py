"""``python -m analysis.compare 'policies={one: runs/A, other: runs/B}'``: is the second better?

Paired by problem, in each mode that both were evaluated in: difference of the problems' mean accuracies,
interval over problems, the p value that fits it, and a sentence. Problems that one side alone was asked are
left out, and listed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from analysis.config import AnalysisConfig
from analysis.data import AnalysisError, load_arms, settings
from analysis.output import Output, interval, percent_axis, show, subplots, where_any
from analysis.pairs import STRAGGLERS, sampled, side_by_side
from analysis.stats import Estimate, Mean, paired_interval
from src.launch.entry import entry

NAME = "compare"
_NAMED = 10  # problems of one side that the terminal names


@dataclass
class CompareConfig(AnalysisConfig):
    """Settings of this analysis: exactly two policies, the second minus the first."""


def compare(table: pl.DataFrame, one: str, other: str, cfg: CompareConfig) -> dict[str, Any]:
    """Return difference, interval and p of two arms over the problems that both were asked.

    A problem counts once, however many trajectories it has on either side.
    """
    problems = table.group_by("arm", "problem_id").agg(
        pl.len().alias("n"), pl.col("correct").mean().alias("accuracy"), STRAGGLERS
    )
    both = side_by_side(problems.sort("arm", "problem_id"), one, other)
    gain = (both["accuracy_other"] - both["accuracy"]).to_numpy()
    better, worse = int((gain > 0).sum()), int((gain < 0).sum())
    found = paired_interval(gain, cfg.resamples, cfg.confidence, cfg.seed)
    shared = set(both["problem_id"])
    alone = {
        arm: sorted(set(problems.filter(pl.col("arm") == arm)["problem_id"]) - shared) for arm in (one, other)
    }
    return {
        "first": one, "second": other, "k": sampled(both),
        "first_accuracy": float(both["accuracy"].mean()),  # type: ignore[arg-type]
        "second_accuracy": float(both["accuracy_other"].mean()),  # type: ignore[arg-type]
        "first_stragglers": int(both["stragglers"].sum()),
        "second_stragglers": int(both["stragglers_other"].sum()),
        "difference": asdict(found), "better": better, "worse": worse, "equal": gain.size - better - worse,
        "verdict": verdict(other, one, found, sampled(both)),
        "only_first": alone[one], "only_second": alone[other],
    }  # fmt: skip


def verdict(second: str, first: str, gain: Mean, k: str) -> str:
    """Say what the interval allows."""
    if gain.low <= 0 <= gain.high:
        return f"{second} and {first} cannot be told apart with {gain.n} problems x {k}"
    return f"{second} is {'better' if gain.value > 0 else 'worse'} than {first}"


def left_out(one: dict[str, Any]) -> str:
    """Return how many problems one side alone was asked; empty if none."""
    counts = {one[arm]: len(one[f"only_{arm}"]) for arm in ("first", "second")}
    return ", ".join(f"{count} of {arm} alone" for arm, count in counts.items() if count)


def draw(found: dict[str, dict[str, Any]], cfg: CompareConfig) -> Any:
    """The differences with their intervals."""
    figure, ((axes,),) = subplots(width=6.8, height=1.6 + 0.7 * len(found))
    for place, one in enumerate(found.values()):
        gain = one["difference"]
        interval(axes, gain, place, capsize=5, color="#0072B2")
        axes.annotate(
            f"{one['better']} better, {one['worse']} worse, p {_p(one, cfg)}",
            (gain["value"], place),
            xytext=(0, 8), textcoords="offset points", ha="center", fontsize=9,
        )  # fmt: skip
    first, second = (next(iter(found.values()))[name].rpartition("_")[0] for name in ("first", "second"))
    axes.axvline(0, color="0.4", lw=1)
    sizes = [
        f"{mode}\n{one['difference']['n']} x {one['k']}"
        + (f"\nleft out: {out}" if (out := left_out(one)) else "")
        for mode, one in found.items()
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
    """Read, compare, say."""
    if len(cfg.policies) != 2:
        raise AnalysisError(
            f"policies: {len(cfg.policies)} are given; give two, the second is compared with the first"
        )
    table = load_arms(cfg.policies, cfg.modes)
    first, second = cfg.policies
    common = [
        mode for mode in table["mode"].unique().sort()
        if table.filter(pl.col("mode") == mode)["policy"].n_unique() == 2
    ]  # fmt: skip
    if not common:
        raise AnalysisError(f"policies: {first} and {second} were evaluated in no mode in common")
    found = {mode: compare(table.filter(pl.col("mode") == mode), f"{first}_{mode}", f"{second}_{mode}", cfg)
             for mode in common}  # fmt: skip
    output = Output(folder, settings(cfg))
    lists = ("only_first", "only_second")
    flat = [
        {"mode": mode, **{key: value for key, value in one.items() if key not in ("difference", *lists)},
         **{key: len(one[key]) for key in lists}, **one["difference"]}
        for mode, one in found.items()
    ]  # fmt: skip
    output.table(NAME, pl.DataFrame(flat))
    alone = [
        (mode, one[key.removeprefix("only_")], problem)
        for mode, one in found.items() for key in lists for problem in one[key]
    ]  # fmt: skip
    output.table("left_out", pl.DataFrame(alone, ["mode", "asked_of", "problem_id"], orient="row"))
    output.json(NAME, found)
    output.figure(NAME, draw(found, cfg))
    late = [f"{one['first_stragglers']} and {one['second_stragglers']}" for one in found.values()]
    heading, cells = where_any("stragglers", [one if one != "0 and 0" else "" for one in late])
    show(
        f"{second} minus {first}, paired by problem; n: problems x trajectories",
        ["mode", "n", first, second, "difference", "better", "worse", "p", "", *heading],
        [
            [mode, f"{one['difference']['n']} x {one['k']}",
             f"{one['first_accuracy']:.3f}", f"{one['second_accuracy']:.3f}",
             Estimate.of(one["difference"]), one["better"], one["worse"], _p(one, cfg), one["verdict"],
             *cell]
            for (mode, one), cell in zip(found.items(), cells, strict=True)
        ],
    )  # fmt: skip
    for mode, one in found.items():
        if out := left_out(one):
            names = [*one["only_first"], *one["only_second"]]
            more = f" and {len(names) - _NAMED} more, in left_out.csv" if len(names) > _NAMED else ""
            show(f"{mode}: left out, {out}: {', '.join(names[:_NAMED])}{more}", [], [])
    output.done()


def _p(one: dict[str, Any], cfg: CompareConfig) -> str:
    """Return p, not finer than the resamples are."""
    p = one["difference"]["p"]
    return f"< {1 / cfg.resamples:.2g}" if p <= 1 / cfg.resamples else f"= {p:.2g}"


if __name__ == "__main__":
    main()
