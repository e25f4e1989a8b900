"""``python -m analysis.compare 'policies={one: runs/A, other: runs/B}'``: is the second better?

Paired by problem, in each mode that both were evaluated in: difference, interval, sign test, and a sentence.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
from scipy.stats import binomtest

from analysis.config import AnalysisConfig
from analysis.data import AnalysisError, load_arms, settings
from analysis.output import Output, percent_axis, show, subplots
from analysis.pairs import side_by_side
from analysis.stats import Estimate, mean_interval
from src.entry import entry

NAME = "compare"


@dataclass
class CompareConfig(AnalysisConfig):
    """Settings of this analysis: exactly two policies, the second minus the first."""


def compare(table: pl.DataFrame, one: str, other: str, cfg: CompareConfig) -> dict[str, Any]:
    """Return difference, interval and sign test of two arms over the problems that both were asked."""
    problems = table.group_by("arm", "problem_id").agg(pl.col("correct").mean().alias("accuracy"))
    both = side_by_side(problems.sort("arm", "problem_id"), one, other)
    gain = (both["accuracy_other"] - both["accuracy"]).to_numpy()
    better, worse = int((gain > 0).sum()), int((gain < 0).sum())
    sign = binomtest(better, better + worse).pvalue if better + worse else 1.0
    estimate = mean_interval(gain, cfg.resamples, cfg.confidence, cfg.seed)
    return {
        "first": one, "second": other,
        "first_accuracy": float(both["accuracy"].mean()),  # type: ignore[arg-type]
        "second_accuracy": float(both["accuracy_other"].mean()),  # type: ignore[arg-type]
        "difference": asdict(estimate), "better": better, "worse": worse, "equal": gain.size - better - worse,
        "sign_test": float(sign), "verdict": verdict(other, one, estimate, float(sign), cfg.confidence),
        "left_out": table["problem_id"].n_unique() - both.height,
    }  # fmt: skip


def verdict(second: str, first: str, gain: Estimate, sign: float, confidence: float) -> str:
    """Say what the numbers allow: both interval and sign test must tell the arms apart."""
    if gain.low <= 0 <= gain.high or sign > 1 - confidence:
        return f"{second} and {first} cannot be told apart with {gain.n} problems"
    return f"{second} is {'better' if gain.value > 0 else 'worse'} than {first}"


def draw(found: dict[str, dict[str, Any]], confidence: float) -> Any:
    """The differences with their intervals."""
    figure, ((axes,),) = subplots(width=6.4, height=1.6 + 0.6 * len(found))
    for place, one in enumerate(found.values()):
        gain = one["difference"]
        axes.errorbar(
            gain["value"], place, fmt="o", capsize=5, color="#0072B2",
            xerr=[[gain["value"] - gain["low"]], [gain["high"] - gain["value"]]],
        )  # fmt: skip
        axes.annotate(
            f"{one['better']} better, {one['worse']} worse, p = {one['sign_test']:.2g}",
            (gain["value"], place),
            xytext=(0, 8), textcoords="offset points", ha="center", fontsize=9,
        )  # fmt: skip
    first, second = (next(iter(found.values()))[name].rpartition("_")[0] for name in ("first", "second"))
    axes.axvline(0, color="0.4", lw=1)
    sizes = [f"{mode}\nn={one['difference']['n']}" for mode, one in found.items()]
    axes.set_yticks(range(len(found)), sizes)
    axes.set_ylim(len(found) - 0.4, -0.7)
    axes.margins(x=0.3)
    axes.set(xlabel=f"accuracy of {second} minus {first} ({confidence:.0%} interval over problems)")
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
    flat = [{"mode": mode, **{k: v for k, v in one.items() if k != "difference"}, **one["difference"]}
            for mode, one in found.items()]  # fmt: skip
    output.table(NAME, pl.DataFrame(flat))
    output.json(NAME, found)
    output.figure(NAME, draw(found, cfg.confidence))
    show(
        f"{second} minus {first}, paired by problem",
        ["mode", "problems", first, second, "difference", "better", "worse", "sign test", ""],
        [
            [mode, one["difference"]["n"], f"{one['first_accuracy']:.3f}", f"{one['second_accuracy']:.3f}",
             Estimate(**one["difference"]), one["better"], one["worse"], f"p = {one['sign_test']:.2g}",
             one["verdict"]]
            for mode, one in found.items()
        ],
    )  # fmt: skip
    output.done()


if __name__ == "__main__":
    main()
