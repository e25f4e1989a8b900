"""``python -m analysis.pass_at_k 'policies={base: runs/A, rl: runs/B}'``: the capability boundary.

Which problems does a policy solve at all, given enough tries? Curves of pass@k for every policy in every
mode, the k at which two curves cross, and the problems that one arm solves and another does not.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from analysis.config import AnalysisConfig
from analysis.data import load_arms, settings
from analysis.output import Output, band, legend_below, look, percent_axis, show, subplots, where_any
from analysis.pairs import STRAGGLERS, pairs_of, sampled, side_by_side, size_of
from analysis.stats import Estimate, Floats, mean_interval, pass_at_k, percentiles, resampled
from analysis.verdicts import crosses, difference, overtaking
from src.config.schema import option
from src.launch.entry import entry
from src.run.intervals import DIFFERENCE, SHARE, mean_limits

NAME = "pass_at_k"
COUNTS = ["arm", "policy", "mode", "problem_id", "subject"]


@dataclass
class PassAtKConfig(AnalysisConfig):
    """Settings of this analysis."""

    k_max: int | None = option(None, "null: as many samples as every problem of every arm has", at_least=1)
    pairs: list[list[str]] | None = option(
        None, "arms that are compared; null: those that share policy or mode"
    )


@dataclass(frozen=True)
class Crossing:
    """Where the curves of two arms cross.

    Attributes:
        ahead: the arm that is better at k = 1; ``behind``: the other one.
        k: from which on ``behind`` is better; None: it never is.
        low, high: interval of ``k`` over the resamples in which the curves cross.
        share: of the resamples in which they do.
        problems: that both arms were asked.
    """

    ahead: str
    behind: str
    k: int | None
    low: float
    high: float
    share: float
    problems: int


def count(table: pl.DataFrame) -> pl.DataFrame:
    """Return trajectories ``n``, correct ones ``c`` and ``stragglers`` of each problem in each arm."""
    return (
        table.group_by(COUNTS).agg(pl.len().alias("n"), pl.col("correct").sum().alias("c"), STRAGGLERS)
        .sort("arm", "problem_id")
    )  # fmt: skip


def first_crossing(difference: Floats) -> Floats:
    """Return the k at which each row's sign first is the opposite of its first sign; nan: never.

    Args:
        difference: of two curves, (R, K); column 0 is k = 1.
    """
    signs = np.sign(np.round(difference, 12))
    first = signs[np.arange(len(signs)), (signs != 0).argmax(axis=1)][:, None]
    crossed = signs == -first
    crossed &= first != 0
    return np.where(crossed.any(axis=1), crossed.argmax(axis=1) + 1.0, np.nan)


def gains(counts: pl.DataFrame, one: str, other: str, k_max: int) -> Floats:
    """Return the second arm's pass@k minus the first's on each problem that both were asked, (P, K)."""
    both = side_by_side(counts, one, other)
    first, second = (
        pass_at_k(both[f"n{end}"].to_numpy(), both[f"c{end}"].to_numpy(), k_max) for end in ("", "_other")
    )
    return second - first


def crossing(counts: pl.DataFrame, one: str, other: str, cfg: PassAtKConfig, k_max: int) -> Crossing:
    """Compare two arms on the problems that both were asked."""
    difference = gains(counts, other, one, k_max)
    mean = difference.mean(axis=0)
    if mean[np.nonzero(np.round(mean, 12))[0][:1]].sum() < 0:
        one, other, difference, mean = other, one, -difference, -mean
    (at,) = first_crossing(mean[None])
    found = first_crossing(resampled(len(difference), cfg.resamples, cfg.seed) @ difference)
    crossed = found[np.isfinite(found)]
    low, high = percentiles(crossed, cfg.confidence) if crossed.size else (np.nan, np.nan)
    return Crossing(
        one, other, None if np.isnan(at) else int(at), float(low), float(high),
        crossed.size / found.size, len(difference),
    )  # fmt: skip


def curves(counts: pl.DataFrame, cfg: PassAtKConfig, k_max: int) -> pl.DataFrame:
    """Return ``arm, k, pass, low, high, problems, samples, stragglers`` of every arm, k up to ``k_max``."""
    rows = []
    for (arm,), group in counts.group_by("arm", maintain_order=True):
        values = pass_at_k(group["n"].to_numpy(), group["c"].to_numpy(), k_max)
        low, high = mean_limits(values, SHARE, cfg.resamples, cfg.confidence, cfg.seed)
        rows.append(
            pl.DataFrame(
                {"k": np.arange(1, k_max + 1), "pass": values.mean(axis=0), "low": low, "high": high}
            ).select(
                pl.lit(arm).alias("arm"),
                pl.all(),
                pl.lit(group.height).alias("problems"),
                pl.lit(sampled(group)).alias("samples"),
                pl.lit(group["stragglers"].sum()).alias("stragglers"),
            )
        )
    return pl.concat(rows)


def solved(counts: pl.DataFrame, pairs: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """Return, for each pair, which problems only one of the two ever solved."""
    ever = {
        arm: set(group.filter(pl.col("c") > 0)["problem_id"])
        for (arm,), group in counts.group_by("arm", maintain_order=True)
    }
    return [
        {
            "first": one, "second": other, "both": len(ever[one] & ever[other]),
            "only_first": sorted(ever[one] - ever[other]), "only_second": sorted(ever[other] - ever[one]),
        }
        for one, other in pairs
    ]  # fmt: skip


def verdicts(
    counts: pl.DataFrame, pairs: list[tuple[str, str]], found: list[Crossing], cfg: PassAtKConfig, k_max: int
) -> list[dict[str, Any]]:
    """Return the rows of each pair: the second arm against the first at both ends, and their crossing."""
    rows = []
    for (one, other), crossed in zip(pairs, found, strict=True):
        gain = gains(counts, one, other, k_max)
        samples = sampled(side_by_side(counts, one, other))
        for k in sorted({1, k_max}):
            gap = mean_interval(gain[:, k - 1], DIFFERENCE, cfg.resamples, cfg.confidence, cfg.seed)
            rows.append(difference(f"pass@{k}", other, one, gap, None, gap.n, samples))
        at = Estimate(
            float("nan") if crossed.k is None else crossed.k, crossed.low, crossed.high, crossed.problems
        )
        rows.append(
            overtaking(crossed.ahead, crossed.behind, at, crossed.share, cfg.confidence, k_max, samples)
        )
    return rows


def draw(found: pl.DataFrame, crossings: list[Crossing], counts: pl.DataFrame, confidence: float) -> Any:
    """Curves over k, with intervals, and a mark where two of them are found to cross."""
    figure, ((axes,),) = subplots(width=7.0, height=4.6)
    arms = found["arm"].unique(maintain_order=True).to_list()
    for (arm,), curve in found.group_by("arm", maintain_order=True):
        axes.plot(curve["k"], curve["pass"], label=arm, linewidth=2, **look(arms, arm))
        band(axes, curve["k"], curve["low"], curve["high"], look(arms, arm)["color"])
    for one in crossings:
        if one.k is not None and crosses(one.share, confidence):
            curve = found.filter((pl.col("arm") == one.behind) & (pl.col("k") == one.k))
            axes.plot(one.k, curve["pass"].item(), "o", mfc="white", mec="black", ms=7, zorder=5)
    axes.set(
        xscale="log", ylim=(0, 1), xlabel="k, samples a problem (log scale)", ylabel="pass@k",
        title=f"n = {size_of(counts)} (problems x trajectories); {confidence:.0%} intervals over problems",
    )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    percent_axis(axes)
    legend_below(axes, 4 if len(arms) <= 4 else 2)
    return figure


@entry(f"analysis/{NAME}", PassAtKConfig)
def main(cfg: PassAtKConfig, folder: Path) -> None:
    """Read, count, draw."""
    counts = count(load_arms(cfg.policies, cfg.modes))
    k_max = int(min(counts["n"].min(), cfg.k_max or counts["n"].max()))
    pairs = pairs_of(counts, cfg.pairs)
    found = curves(counts, cfg, k_max)
    crossings = [crossing(counts, one, other, cfg, k_max) for one, other in pairs]
    late = {
        arm: int(n) for arm, n in counts.group_by("arm").agg(pl.col("stragglers").sum()).sort("arm").rows()
    }
    heading, cells = where_any("stragglers", list(late.values()))
    output = Output(folder, settings(cfg))
    output.table(NAME, found)
    output.table("problems", counts)
    output.json(
        NAME,
        {
            "k_max": k_max, "stragglers": late,
            "crossings": [asdict(one) for one in crossings], "solved": solved(counts, pairs),
            "verdicts": output.verdicts(verdicts(counts, pairs, crossings, cfg, k_max)),
        },
    )  # fmt: skip
    output.figure(NAME, draw(found, crossings, counts, cfg.confidence))
    marks = sorted({1, *(2**i for i in range(k_max.bit_length())), k_max})
    show(
        f"pass@k with {cfg.confidence:.0%} intervals over problems; n: problems x trajectories",
        ["arm", "n", *heading, *(f"k={k}" for k in marks if k in (1, 4, 16, 64, 256, 1024, k_max))],
        [
            [arm, f"{curve['problems'][0]} x {curve['samples'][0]}", *cell, *(
                f"{row['pass']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
                for row in curve.filter(pl.col("k").is_in([1, 4, 16, 64, 256, 1024, k_max])).to_dicts()
            )]
            for ((arm,), curve), cell in zip(found.group_by("arm", maintain_order=True), cells, strict=True)
        ],
    )  # fmt: skip
    show(
        "where curves cross, and problems that only one arm ever solved",
        ["ahead at k=1", "behind", "leads from k", "interval", "resamples that cross", "only one solves"],
        [
            [one.ahead, one.behind, one.k or "never", f"[{one.low:.0f}, {one.high:.0f}]" if one.share else "",
             f"{one.share:.0%}", _only(counts, one)]
            for one in crossings
        ],
    )  # fmt: skip
    output.done()


def _only(counts: pl.DataFrame, one: Crossing) -> str:
    (sets,) = solved(counts, [(one.ahead, one.behind)])
    return f"{one.ahead} {len(sets['only_first'])}, {one.behind} {len(sets['only_second'])}"


if __name__ == "__main__":
    main()
