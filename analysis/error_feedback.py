"""``python -m analysis.error_feedback 'policies={base: runs/A, rl: runs/B}'``: what follows failures.

How executions end, and what the policy does after a failed one: it repairs the program, writes a different
one, or continues in text. With ``policies={run: runs/X@train}`` also how programs change over training.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from analysis.config import AnalysisConfig
from analysis.data import load_arms, settings
from analysis.output import COLOURS, Output, legend_below, look, percent_axis, show, subplots
from analysis.pairs import pairs_of, sampled, size_of
from analysis.stats import Estimate, mean_interval, ratio_gap_interval, ratio_interval
from analysis.verdicts import difference
from src.config.schema import option
from src.launch.entry import entry
from src.run.intervals import DIFFERENCE, SHARE

NAME = "error_feedback"
FATES = ("repaired", "failed again", "other code", "gave up", "no budget left", "cut off")
MOST_FAILURES = 3  # more are counted as this many


@dataclass
class ErrorFeedbackConfig(AnalysisConfig):
    """Settings of this analysis."""

    similar: float = option(
        0.5, "similarity from which the next program counts as a repair of the failed one", above=0, at_most=1
    )
    types: int = option(8, "number of exception types to name; the others count as other", at_least=1)


def similarity(left: str, right: str) -> pl.Expr:
    """Return the Dice coefficient of the tokens (words and signs) of the programs in two columns."""
    first, second = (pl.col(name).str.extract_all(r"\w+|[^\w\s]").list.unique() for name in (left, right))
    return 2 * first.list.set_intersection(second).list.len() / (first.list.len() + second.list.len())


def executions(table: pl.DataFrame) -> pl.DataFrame:
    """Return a row per execution: arm, problem, ``row`` of its trajectory, ``index, status, error, code``."""
    return (
        table.with_row_index("row")
        .filter(pl.col("statuses").list.len() > 0)
        .select(
            "row", "arm", "problem_id", "step", "budget", "correct", "stop_reason", "statuses",
            "errors", "code", pl.int_ranges(pl.col("statuses").list.len()).alias("index"),
        )
        .explode("statuses", "errors", "code", "index")
        .rename({"statuses": "status", "errors": "error"})
        .filter(pl.col("status") != "infrastructure")
    )  # fmt: skip


def failures(found: pl.DataFrame, similar: float) -> pl.DataFrame:
    """Return the failed executions with their ``fate``, one of :data:`FATES`, and how the next one ended.

    ``repaired``: the next program is similar and runs. ``failed again``: it is similar and fails.
    ``other code``: it is not similar. If no program follows: ``no budget left``, ``cut off`` (the
    trajectory ended at a limit), or ``gave up`` (the policy continues in text).
    """
    after = [pl.col(name).shift(-1).over("row").alias(f"next_{name}") for name in ("status", "code")]
    failed = found.with_columns(*after).filter(pl.col("status") != "ok")
    followed, same = pl.col("next_status").is_not_null(), pl.col("similarity") >= similar
    fate = (
        pl.when(followed & same & (pl.col("next_status") == "ok")).then(pl.lit("repaired"))
        .when(followed & same).then(pl.lit("failed again"))
        .when(followed).then(pl.lit("other code"))
        .when(pl.col("index") + 1 >= pl.col("budget")).then(pl.lit("no budget left"))
        .when(pl.col("stop_reason").is_in(["length", "budget"])).then(pl.lit("cut off"))
        .otherwise(pl.lit("gave up"))
    )  # fmt: skip
    failed = failed.with_columns(similarity("code", "next_code").alias("similarity"))
    return failed.with_columns(fate.alias("fate"))


def kind(limit: int, failed: pl.DataFrame) -> pl.DataFrame:
    """Return ``failed`` with ``type``: the type of the exception, or the status if there is none."""
    raised = pl.col("error").str.extract(r"^([A-Za-z_][\w.]*)(?::|$)", 1)
    named = pl.when(pl.col("status") == "error").then(raised.fill_null("error")).otherwise("status")
    failed = failed.with_columns(named.alias("type"))
    common = failed["type"].value_counts(sort=True).head(limit)["type"].to_list()
    return failed.with_columns(
        pl.when(pl.col("type").is_in(common)).then("type").otherwise(pl.lit("other")).alias("type")
    )


def fates(failed: pl.DataFrame, cfg: ErrorFeedbackConfig) -> list[dict[str, Any]]:
    """Return the fraction of each fate among each arm's failed executions, with intervals over problems."""
    rows = []
    for (arm,), group in failed.group_by("arm", maintain_order=True):
        counts = group.group_by("problem_id", maintain_order=True).agg(
            pl.len().alias("n"), *((pl.col("fate") == fate).sum().alias(fate) for fate in FATES)
        )
        for fate in FATES:
            options = (cfg.resamples, cfg.confidence, cfg.seed, SHARE)
            estimate = ratio_interval(counts[fate].to_numpy(), counts["n"].to_numpy(), *options)
            rows.append({"arm": arm, "fate": fate, "executions": int(counts[fate].sum()), **asdict(estimate)})
    return rows


def by_failures(table: pl.DataFrame, cfg: ErrorFeedbackConfig) -> list[dict[str, Any]]:
    """Return the accuracy of trajectories that ran programs, by their number of failures.

    ``value`` is the accuracy over all of them; ``at_equal_difficulty`` is the mean difference to the
    trajectories of the same problem without a failure, over the problems that have both.
    """
    ran = table.filter(pl.col("executions") > 0).with_columns(pl.col("failed").clip(0, MOST_FAILURES))
    cells = (
        ran.group_by("arm", "problem_id", "failed")
        .agg(pl.len().alias("n"), pl.col("correct").sum().alias("c"))
        .sort("arm", "failed", "problem_id")
    )  # fmt: skip
    options = (cfg.resamples, cfg.confidence, cfg.seed)
    rows = []
    for (arm, number), group in cells.group_by("arm", "failed", maintain_order=True):
        none = cells.filter((pl.col("arm") == arm) & (pl.col("failed") == 0))
        both = group.join(none, on="problem_id", suffix="_none", maintain_order="left")
        gain = (both["c"] / both["n"] - both["c_none"] / both["n_none"]).to_numpy() if number else []
        rows.append(
            {
                "arm": arm, "failures": number, "trajectories": int(group["n"].sum()),
                **asdict(ratio_interval(group["c"].to_numpy(), group["n"].to_numpy(), *options, SHARE)),
                "at_equal_difficulty": asdict(mean_interval(gain, DIFFERENCE, *options)),
            }
        )  # fmt: skip
    return rows


def verdicts(
    failed: pl.DataFrame,
    accuracy: list[dict[str, Any]],
    trajectories: pl.DataFrame,
    pairs: list[tuple[str, str]],
    cfg: ErrorFeedbackConfig,
) -> list[dict[str, Any]]:
    """Return rows for the repair rate of each pair of arms, and for trajectories with failures.

    ``trajectories`` has the number ``n`` of trajectories of each arm and problem.
    """
    options = (cfg.resamples, cfg.confidence, cfg.seed)
    k = {arm: sampled(group) for (arm,), group in trajectories.group_by("arm")}
    counts = failed.group_by("arm", "problem_id").agg(
        (pl.col("fate") == "repaired").sum().alias("repaired"), pl.len().alias("n")
    )
    rows = []
    for first_arm, second_arm in pairs:
        first, second = (counts.filter(pl.col("arm") == arm).drop("arm") for arm in (first_arm, second_arm))
        both = (
            first.join(second, on="problem_id", how="full", suffix="_other", coalesce=True)
            .fill_null(0).sort("problem_id")
        )  # fmt: skip
        above = np.stack([both["repaired"].to_numpy(), both["repaired_other"].to_numpy()]).astype(float)
        below = np.stack([both["n"].to_numpy(), both["n_other"].to_numpy()]).astype(float)
        gap = ratio_gap_interval(above, below, *options)
        samples = " and ".join(dict.fromkeys([k[first_arm], k[second_arm]]))
        rows.append(difference("repair rate", second_arm, first_arm, gap, None, gap.n, samples))
    for row in accuracy:
        if row["failures"]:
            gap = Estimate(**row["at_equal_difficulty"])
            number = f"{row['failures']}{' or more' * (row['failures'] == MOST_FAILURES)}"
            named, none = f"{row['arm']} with {number} failed", f"{row['arm']} with none"
            rows.append(difference("accuracy", named, none, gap, None, gap.n, k[row["arm"]]))
    return rows


def programs(found: pl.DataFrame) -> pl.DataFrame:
    """Return statistics of the programs of each arm and step: lines, imports, use of sympy and numpy."""
    code = pl.col("code")
    imports = r"(?m)^\s*(?:import|from)\s+\w+"
    return (
        found.filter(code.is_not_null())
        .group_by("arm", "step")
        .agg(
            pl.len().alias("programs"),
            code.str.count_matches(r"(?m)^.*\S.*$").mean().alias("lines"),
            code.str.count_matches(imports).mean().alias("imports"),
            code.str.contains(r"(?m)^\s*(?:import|from)\s+sympy").mean().alias("sympy"),
            code.str.contains(r"(?m)^\s*(?:import|from)\s+numpy").mean().alias("numpy"),
            (pl.col("status") != "ok").mean().alias("failed"),
        )
        .sort("arm", "step")
    )


def draw(
    rows: list[dict[str, Any]],
    types: pl.DataFrame,
    accuracy: list[dict[str, Any]],
    code: pl.DataFrame,
    trajectories: pl.DataFrame,
    cfg: Any,
) -> Any:
    """Fates, exception types, accuracy by failures; programs over training if there are several steps."""
    training = code["step"].n_unique() > 1
    figure, (panels,) = subplots(3 + training, width=5.4, height=4.6)
    arms = list(dict.fromkeys(row["arm"] for row in accuracy))
    named = [arm for arm in arms if any(row["arm"] == arm for row in rows)]
    left = [0.0] * len(named)
    for index, fate in enumerate(FATES):
        values = [next(r["value"] for r in rows if (r["arm"], r["fate"]) == (arm, fate)) for arm in named]
        panels[0].barh(named, values, left=left, label=fate, color=COLOURS[index], height=0.6)
        left = [a + b for a, b in zip(left, values, strict=True)]
    sizes = {arm: sum(r["executions"] for r in rows if r["arm"] == arm) for arm in named}
    panels[0].set_yticks(range(len(named)), [f"{arm}\n{sizes[arm]:,} failed" for arm in named])
    panels[0].set(xlabel="fraction of failed executions", title="after a failed execution", xlim=(0, 1))
    panels[0].invert_yaxis()
    percent_axis(panels[0], "x")
    legend_below(panels[0], 3)
    order = types.group_by("type").agg(pl.col("executions").sum()).sort("executions")["type"].to_list()
    for index, arm in enumerate(named):
        mine = dict(types.filter(pl.col("arm") == arm).select("type", "share").iter_rows())
        height = 0.8 / len(named)
        places = [order.index(name) + (len(named) / 2 - index - 0.5) * height for name in order]
        panels[1].barh(
            places, [mine.get(name, 0.0) for name in order], height, label=arm, color=look(arms, arm)["color"]
        )
    panels[1].set_yticks(range(len(order)), order)
    panels[1].set(xlabel="fraction of all executions", title="how executions fail")
    percent_axis(panels[1], "x")
    legend_below(panels[1])
    for arm in arms:
        mine = [row for row in accuracy if row["arm"] == arm]
        panels[2].errorbar(
            [r["failures"] for r in mine], [r["value"] for r in mine], marker="o", capsize=4, label=arm,
            yerr=[[r["value"] - r["low"] for r in mine], [r["high"] - r["value"] for r in mine]],
            **look(arms, arm),
        )  # fmt: skip
    ticks = range(MOST_FAILURES + 1)
    panels[2].set_xticks(ticks, [str(n) if n < MOST_FAILURES else f"{n} or more" for n in ticks])
    panels[2].set_xlim(-0.3, MOST_FAILURES + 0.5)
    panels[2].set(xlabel="failed executions in a trajectory", ylabel="accuracy", ylim=(0, None))
    number = f"n = {size_of(trajectories)} (problems x trajectories)"
    panels[2].set_title(f"accuracy; {cfg.confidence:.0%} intervals over problems\n{number}")
    percent_axis(panels[2])
    legend_below(panels[2])
    if training:
        for (arm,), mine in code.group_by("arm", maintain_order=True):
            panels[3].plot(mine["step"], mine["lines"], label=f"lines, {arm}", color=look(arms, arm)["color"])
            panels[3].plot(
                mine["step"], mine["imports"], "--", label=f"imports, {arm}", color=look(arms, arm)["color"]
            )
        panels[3].set(
            xlabel="rollout step", ylabel="number per program", title="programs over training", ylim=(0, None)
        )
        legend_below(panels[3])
    return figure


@entry(f"analysis/{NAME}", ErrorFeedbackConfig)
def main(cfg: ErrorFeedbackConfig, folder: Path) -> None:
    """Load the records, classify failures, write tables and figures."""
    table = load_arms(cfg.policies, cfg.modes, code=True)
    found = executions(table)
    failed = kind(cfg.types, failures(found, cfg.similar))
    executed = dict(found.group_by("arm").len().iter_rows())
    types = (
        failed.group_by("arm", "type").agg(pl.len().alias("executions"))
        .sort("arm", "executions", "type", descending=[False, True, False])
        .with_columns(
            (pl.col("executions") / pl.col("arm").cast(pl.String).replace_strict(executed)).alias("share")
        )
    )  # fmt: skip
    rows, accuracy, code = fates(failed, cfg), by_failures(table, cfg), programs(found)
    trajectories = table.group_by("arm", "problem_id").agg(pl.len().alias("n"))
    output = Output(folder, settings(cfg))
    output.table(NAME, pl.DataFrame(rows) if rows else pl.DataFrame({"arm": []}))
    output.table("types", types)
    output.table("programs", code)
    output.json(
        NAME,
        {"fates": rows, "types": types.to_dicts(), "accuracy_by_failures": accuracy, "executions": executed,
         "verdicts": output.verdicts(verdicts(failed, accuracy, trajectories, pairs_of(table, None), cfg))},
    )  # fmt: skip
    output.figure(NAME, draw(rows, types, accuracy, code, trajectories, cfg))
    show(
        f"after a failed execution (repair: similarity at least {cfg.similar:g}); n: problems x trajectories",
        ["arm", "n", "failed", *FATES],
        [
            [arm, size_of(trajectories.filter(pl.col("arm") == arm)),
             f"{sum(r['executions'] for r in mine):,}", *(_short(r) for r in mine)]
            for arm in dict.fromkeys(row["arm"] for row in rows)
            for mine in [[row for row in rows if row["arm"] == arm]]
        ],
    )  # fmt: skip
    show(
        "how executions fail, fraction of all executions",
        ["arm", "type", "executions", "share"],
        [[r["arm"], r["type"], f"{r['executions']:,}", f"{r['share']:.1%}"] for r in types.to_dicts()],
    )
    show(
        "accuracy by number of failed executions",
        ["arm", "failures", "trajectories", "accuracy", "difference to none, same problems"],
        [
            [r["arm"], r["failures"], f"{r['trajectories']:,}", _short(r), _short(r["at_equal_difficulty"])]
            for r in accuracy
        ],
    )
    output.done()


def _short(row: dict[str, Any]) -> str:
    return str(Estimate.of(row)) if row["n"] else ""


if __name__ == "__main__":
    main()
