"""``python -m analysis.pass_at_k 'policies={base: runs/A, rl: runs/B}'``: the capability boundary.

Which problems can a policy solve, given enough samples? pass@k curves of every policy in every mode, the k at
which two curves cross, and the problems that only one of two arms solves.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from analysis.config import AnalysisConfig
from analysis.data import load_arms, settings
from analysis.output import (
    Output,
    band,
    legend_below,
    legend_columns,
    look,
    percent_axis,
    show,
    subplots,
    where_any,
)
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

    k_max: int | None = option(
        None, "largest k; null: the smallest number of samples of any problem in any arm", at_least=1
    )
    pairs: list[list[str]] | None = option(
        None, "pairs of arms to compare; null: those that share policy or mode"
    )


@dataclass(frozen=True)
class Crossing:
    """Where the curves of two arms cross.

    Attributes:
        ahead: the arm that is better at k = 1; ``behind``: the other arm.
        k: the smallest k at which ``behind`` is better; None: it never is.
        low, high: interval of ``k`` over the resamples in which the curves cross.
        share: fraction of resamples in which they cross.
        problems: number of common problems.
    """

    ahead: str
    behind: str
    k: int | None
    low: float
    high: float
    share: float
    problems: int


def count(table: pl.DataFrame) -> pl.DataFrame:
    """Return the numbers of trajectories ``n``, correct ones ``c`` and ``stragglers`` per problem and arm."""
    return (
        table.group_by(COUNTS).agg(pl.len().alias("n"), pl.col("correct").sum().alias("c"), STRAGGLERS)
        .sort("arm", "problem_id")
    )  # fmt: skip


def first_crossing(difference: Floats) -> Floats:
    """Return the k at which the sign of each row is first opposite to its initial sign; nan: never.

    Args:
        difference: difference of two curves, (R, K); column 0 is k = 1.
    """
    signs = np.sign(np.round(difference, 12))
    first = signs[np.arange(len(signs)), (signs != 0).argmax(axis=1)][:, None]
    crossed = signs == -first
    crossed &= first != 0
    return np.where(crossed.any(axis=1), crossed.argmax(axis=1) + 1.0, np.nan)


def gains(counts: pl.DataFrame, first_arm: str, second_arm: str, k_max: int) -> Floats:
    """Return the second arm's pass@k minus the first's on each common problem, (P, K)."""
    both = side_by_side(counts, first_arm, second_arm)
    first, second = (
        pass_at_k(both[f"n{end}"].to_numpy(), both[f"c{end}"].to_numpy(), k_max) for end in ("", "_other")
    )
    return second - first


def crossing(counts: pl.DataFrame, ahead: str, behind: str, cfg: PassAtKConfig, k_max: int) -> Crossing:
    """Compare two arms, given in either order, on their common problems."""
    difference = gains(counts, behind, ahead, k_max)
    mean = difference.mean(axis=0)
    if mean[np.nonzero(np.round(mean, 12))[0][:1]].sum() < 0:
        ahead, behind, difference, mean = behind, ahead, -difference, -mean
    (at,) = first_crossing(mean[None])
    found = first_crossing(resampled(len(difference), cfg.resamples, cfg.seed) @ difference)
    crossed = found[np.isfinite(found)]
    low, high = percentiles(crossed, cfg.confidence) if crossed.size else (np.nan, np.nan)
    return Crossing(
        ahead, behind, None if np.isnan(at) else int(at), float(low), float(high),
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
    """Return, for each pair, the problems that only one of the two arms ever solved."""
    ever = {
        arm: set(group.filter(pl.col("c") > 0)["problem_id"])
        for (arm,), group in counts.group_by("arm", maintain_order=True)
    }
    return [
        {
            "first": first, "second": second, "both": len(ever[first] & ever[second]),
            "only_first": sorted(ever[first] - ever[second]),
            "only_second": sorted(ever[second] - ever[first]),
        }
        for first, second in pairs
    ]  # fmt: skip


def verdicts(
    counts: pl.DataFrame, pairs: list[tuple[str, str]], found: list[Crossing], cfg: PassAtKConfig, k_max: int
) -> list[dict[str, Any]]:
    """Return the rows of each pair: second arm against first at k = 1 and ``k_max``, and the crossing."""
    rows = []
    for (first, second), crossed in zip(pairs, found, strict=True):
        gain = gains(counts, first, second, k_max)
        samples = sampled(side_by_side(counts, first, second))
        for k in sorted({1, k_max}):
            gap = mean_interval(gain[:, k - 1], DIFFERENCE, cfg.resamples, cfg.confidence, cfg.seed)
            rows.append(difference(f"pass@{k}", second, first, gap, None, gap.n, samples))
        at = Estimate(
            float("nan") if crossed.k is None else crossed.k, crossed.low, crossed.high, crossed.problems
        )
        rows.append(
            overtaking(crossed.ahead, crossed.behind, at, crossed.share, cfg.confidence, k_max, samples)
        )
    return rows


def draw(found: pl.DataFrame, crossings: list[Crossing], counts: pl.DataFrame, confidence: float) -> Any:
    """Draw curves over k with intervals, and a mark where two curves cross."""
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
        xscale="log", ylim=(0, 1), xlabel="k, samples per problem (log scale)", ylabel="pass@k",
        title=f"n = {size_of(counts)} (problems x trajectories); {confidence:.0%} intervals over problems",
    )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    percent_axis(axes)
    legend_below(axes, legend_columns(arms))
    return figure


@entry(f"analysis/{NAME}", PassAtKConfig)
def main(cfg: PassAtKConfig, folder: Path) -> None:
    """Load the records, count, write tables and figures."""
    counts = count(load_arms(cfg.policies, cfg.modes))
    k_max = int(min(counts["n"].min(), cfg.k_max or counts["n"].max()))
    pairs = pairs_of(counts, cfg.pairs)
    found = curves(counts, cfg, k_max)
    crossings = [crossing(counts, first, second, cfg, k_max) for first, second in pairs]
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
            "crossings": [asdict(cross) for cross in crossings], "solved": solved(counts, pairs),
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
            [cross.ahead, cross.behind, cross.k or "never",
             f"[{cross.low:.0f}, {cross.high:.0f}]" if cross.share else "", f"{cross.share:.0%}",
             _only(counts, cross)]
            for cross in crossings
        ],
    )  # fmt: skip
    output.done()


def _only(counts: pl.DataFrame, cross: Crossing) -> str:
    (sets,) = solved(counts, [(cross.ahead, cross.behind)])
    return f"{cross.ahead} {len(sets['only_first'])}, {cross.behind} {len(sets['only_second'])}"


if __name__ == "__main__":
    main()
