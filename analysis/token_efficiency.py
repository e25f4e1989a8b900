"""``python -m analysis.token_efficiency 'policies={base: runs/A, rl: runs/B}'``: tokens per answer.

Tokens, characters and executions per trajectory, by arm and correctness; tokens per correct answer; accuracy
under a token limit; and the tokens of two arms on the problems that both solve.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from matplotlib.ticker import LogLocator, NullFormatter

from analysis.config import AnalysisConfig
from analysis.data import load_arms, settings
from analysis.output import (
    Output,
    band,
    interval,
    legend_below,
    legend_columns,
    look,
    percent_axis,
    show,
    subplots,
    where_any,
)
from analysis.pairs import STRAGGLERS, pairs_of, sampled, side_by_side, size_of
from analysis.stats import Estimate, ratio_interval
from analysis.verdicts import multiple
from src.config.schema import option
from src.launch.entry import entry
from src.run.intervals import SHARE, mean_limits

NAME = "token_efficiency"
MEASURES = ("policy_tokens", "feedback_tokens", "policy_chars", "executions")


@dataclass
class TokenEfficiencyConfig(AnalysisConfig):
    """Settings of this analysis."""

    pairs: list[list[str]] | None = option(
        None, "pairs of arms to compare; null: those that share policy or mode"
    )
    limits: int = option(60, "number of token limits on the curve", at_least=2)


def per_problem(table: pl.DataFrame) -> pl.DataFrame:
    """Return sums over all and over the correct trajectories of each problem and arm."""
    right = pl.col("correct")
    return (
        table.group_by("arm", "policy", "mode", "problem_id")
        .agg(
            pl.len().alias("n"),
            right.sum().alias("c"),
            STRAGGLERS,
            *(pl.col(name).sum().alias(name) for name in MEASURES),
            *(pl.col(name).filter(right).sum().alias(f"{name}_correct") for name in MEASURES),
        )
        .sort("arm", "problem_id")
    )


def costs(problems: pl.DataFrame, cfg: TokenEfficiencyConfig) -> list[dict[str, Any]]:
    """Return, for each arm, the mean of every measure over all, correct and wrong trajectories.

    ``stragglers`` is the number in the whole arm, repeated in its rows: these trajectories were cut short.
    """
    options = (cfg.resamples, cfg.confidence, cfg.seed)
    rows = []
    for (arm,), group in problems.group_by("arm", maintain_order=True):
        n, c = group["n"].to_numpy(), group["c"].to_numpy()
        late = {"stragglers": int(group["stragglers"].sum())}
        for name in MEASURES:
            whole, right = group[name].to_numpy(), group[f"{name}_correct"].to_numpy()
            kinds = {"all": (whole, n), "correct": (right, c), "wrong": (whole - right, n - c)}
            for kind, (total, number) in kinds.items():
                estimate = ratio_interval(total, number, *options)
                rows.append({"arm": arm, "measure": name, "of": kind, **asdict(estimate), **late})
        estimate = ratio_interval(group["policy_tokens"].to_numpy(), c, *options)
        per_answer = {"arm": arm, "measure": "policy_tokens_per_correct_answer", "of": "all"}
        rows.append({**per_answer, **asdict(estimate), **late})
    return rows


def matched(problems: pl.DataFrame, first: str, second: str, cfg: TokenEfficiencyConfig) -> dict[str, Any]:
    """Compare the policy tokens of correct trajectories on the problems that both arms solve.

    ``ratio`` is the first arm's mean number of tokens over these problems divided by the second arm's; each
    problem has the same weight.
    """
    both = side_by_side(problems, first, second).filter((pl.col("c") > 0) & (pl.col("c_other") > 0))
    mine = (both["policy_tokens_correct"] / both["c"]).to_numpy()
    theirs = (both["policy_tokens_correct_other"] / both["c_other"]).to_numpy()
    ratio = ratio_interval(mine, theirs, cfg.resamples, cfg.confidence, cfg.seed)
    return {
        "first": first, "second": second, "problems": both.height, "k": sampled(both), "ratio": asdict(ratio),
        "first_tokens": float(mine.mean()) if both.height else None,
        "second_tokens": float(theirs.mean()) if both.height else None,
    }  # fmt: skip


def under_limit(table: pl.DataFrame, cfg: TokenEfficiencyConfig) -> pl.DataFrame:
    """Return ``arm, limit, ...``: the accuracy if trajectories beyond a limit of policy tokens were wrong."""
    least, most = (max(1, int(x)) for x in np.quantile(table["policy_tokens"].to_numpy(), [0.001, 1.0]))
    limits = np.unique(np.geomspace(least, most, cfg.limits).astype(int))
    found = []
    for (arm,), group in table.sort("arm").group_by("arm", maintain_order=True):
        number = group["problem_id"].rank("dense").to_numpy() - 1
        of = np.bincount(number)
        right = group["correct"].to_numpy()
        place = np.searchsorted(
            limits, group["policy_tokens"].to_numpy()[right]
        )  # the smallest limit that it satisfies
        solved = np.zeros((of.size, limits.size + 1))
        np.add.at(solved, (number[right], place), 1)
        values = solved.cumsum(axis=1)[:, : limits.size] / of[:, None]
        low, high = mean_limits(values, SHARE, cfg.resamples, cfg.confidence, cfg.seed)
        accuracy = pl.DataFrame({"limit": limits, "accuracy": values.mean(axis=0), "low": low, "high": high})
        found.append(accuracy.select(pl.lit(arm).alias("arm"), pl.all()))
    return pl.concat(found)


def draw(
    curves: pl.DataFrame, rows: list[dict[str, Any]], problems: pl.DataFrame, cfg: TokenEfficiencyConfig
) -> Any:
    """Draw accuracy under a token limit, and tokens by correctness."""
    figure, ((left, right),) = subplots(2, width=6.4, height=4.6)
    arms = curves["arm"].unique(maintain_order=True).to_list()
    for (arm,), curve in curves.group_by("arm", maintain_order=True):
        left.plot(curve["limit"], curve["accuracy"], label=arm, linewidth=2, **look(arms, arm))
        band(left, curve["limit"], curve["low"], curve["high"], look(arms, arm)["color"])
    left.set(
        xscale="log", xlabel="limit, policy tokens per trajectory (log scale)", ylabel="accuracy",
        ylim=(0, None),
        title=f"accuracy under a token limit; {cfg.confidence:.0%} intervals\n"
        f"n = {size_of(problems)} (problems x trajectories)",
    )  # fmt: skip
    left.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    left.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    left.xaxis.set_minor_formatter(NullFormatter())
    percent_axis(left)
    legend_below(left, legend_columns(arms))
    tokens = {(r["arm"], r["of"]): r for r in rows if r["measure"] == "policy_tokens"}
    for offset, kind, marker in ((-0.12, "correct", "o"), (0.12, "wrong", "X")):
        for place, arm in enumerate(arms):
            row = tokens[arm, kind]
            if not np.isfinite(row["value"]):
                continue
            interval(right, row, place + offset, fmt=marker, color=look(arms, arm)["color"])
        right.plot([], [], marker, color="0.3", label=kind)
    right.set_yticks(range(len(arms)), arms)
    right.set(xlabel="policy tokens per trajectory", title="tokens by correctness", xlim=(0, None))
    right.set_ylim(len(arms) - 0.4, -0.6)
    legend_below(right)
    return figure


@entry(f"analysis/{NAME}", TokenEfficiencyConfig)
def main(cfg: TokenEfficiencyConfig, folder: Path) -> None:
    """Load the records, sum, write tables and figures."""
    table = load_arms(cfg.policies, cfg.modes)
    problems = per_problem(table)
    rows, curves = costs(problems, cfg), under_limit(table, cfg)
    compared = [matched(problems, *pair, cfg) for pair in pairs_of(problems, cfg.pairs)]
    output = Output(folder, settings(cfg))
    output.table(NAME, pl.DataFrame(rows))
    output.table("under_limit", curves)
    verdicts = [
        multiple(
            "policy tokens of correct trajectories",
            pair["first"],
            pair["second"],
            Estimate(**pair["ratio"]),
            pair["k"],
        )
        for pair in compared
    ]
    output.json(NAME, {"costs": rows, "matched": compared, "verdicts": output.verdicts(verdicts)})
    output.figure(NAME, draw(curves, rows, problems, cfg))
    by_arm: dict[str, dict[tuple[str, str], Estimate]] = {}
    for row in rows:
        by_arm.setdefault(row["arm"], {})[row["measure"], row["of"]] = Estimate.of(row)
    late = {row["arm"]: row["stragglers"] for row in rows}
    heading, cells = where_any("stragglers", list(late.values()))
    show(
        "policy tokens (mean and interval), feedback tokens, executions; n: problems x trajectories",
        ["arm", "n", *heading, "correct", "wrong", "per correct answer", "feedback", "executions"],
        [
            [arm, size_of(problems.filter(pl.col("arm") == arm)), *cell, *(
                f"{found[key].value:,.0f} [{found[key].low:,.0f}, {found[key].high:,.0f}]" for key in (
                    ("policy_tokens", "correct"), ("policy_tokens", "wrong"),
                    ("policy_tokens_per_correct_answer", "all"))),
             f"{found['feedback_tokens', 'all'].value:,.0f}", f"{found['executions', 'all'].value:.2f}"]
            for (arm, found), cell in zip(by_arm.items(), cells, strict=True)
        ],
    )  # fmt: skip
    show(
        "problems that both solve: policy tokens of correct trajectories",
        ["first", "second", "n", "first", "second", "first / second"],
        [
            [pair["first"], pair["second"], f"{pair['problems']} x {pair['k']}", *(
                f"{pair[name]:,.0f}" if pair[name] is not None else ""
                for name in ("first_tokens", "second_tokens")
            ), Estimate(**pair["ratio"]) if pair["problems"] else ""]
            for pair in compared
        ],
    )  # fmt: skip
    output.done()


if __name__ == "__main__":
    main()
