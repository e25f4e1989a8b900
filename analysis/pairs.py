"""The pairs of arms to compare, and their common problems."""

from __future__ import annotations

from itertools import combinations

import polars as pl

from analysis.data import AnalysisError
from src.run.console import span


def pairs_of(table: pl.DataFrame, chosen: list[list[str]] | None) -> list[tuple[str, str]]:
    """Return the arms to compare: those that share policy or mode, or the ``chosen`` ones.

    Args:
        table: with columns ``arm``, ``policy`` and ``mode``.
        chosen: pairs of arms; None: see above.

    Raises:
        AnalysisError: an arm does not exist.
    """
    arms = table.select("arm", "policy", "mode").unique().sort("arm").rows()
    if chosen is None:
        return [(a, b) for (a, p, m), (b, q, o) in combinations(arms, 2) if p == q or m == o]
    names = [arm for arm, _, _ in arms]
    for index, pair in enumerate(chosen):
        if len(pair) != 2 or not set(pair) <= set(names):
            raise AnalysisError(f"pairs[{index}]={pair}: give two of the arms {', '.join(names)}")
    return [(first, second) for first, second in chosen]


def side_by_side(problems: pl.DataFrame, first: str, second: str) -> pl.DataFrame:
    """Return the common problems of two arms, one row each; the second arm's columns end in ``_other``.

    Args:
        problems: a row per arm and problem.
        first: an arm.
        second: another arm.

    Raises:
        AnalysisError: they have no problem in common.
    """
    both = problems.filter(pl.col("arm") == first).join(
        problems.filter(pl.col("arm") == second), on="problem_id", suffix="_other", maintain_order="left"
    )
    if both.is_empty():
        raise AnalysisError(
            f"pairs: {first} and {second} have no problem in common; evaluate them on the same problems"
        )
    return both


def sampled(problems: pl.DataFrame) -> str:
    """Return the number of trajectories per problem: ``8``, ``6-8`` or, for two arms, ``8 and 16``.

    Args:
        problems: a row per problem, with ``n``, and for two arms with ``n_other``.
    """
    columns = [problems[name] for name in ("n", "n_other") if name in problems.columns]
    spans = [span(int(column.min() or 0), int(column.max() or 0)) for column in columns]  # type: ignore[arg-type]
    return " and ".join(dict.fromkeys(spans))


# Number of trajectories ended by rollout.max_seconds; records without the field count as 0.
STRAGGLERS = pl.col("straggler").sum().cast(pl.Int64).alias("stragglers")
# Mean of the lenient verdicts; null if not every trajectory has one.
LENIENT = (
    pl.when(pl.col("correct_lenient").null_count() == 0)
    .then(pl.col("correct_lenient").mean())
    .alias("accuracy_lenient")
)


def size_of(problems: pl.DataFrame) -> str:
    """Return ``problems x trajectories per problem`` of a table with one row per problem (and arm)."""
    return f"{problems['problem_id'].n_unique():,} x {sampled(problems.select('n'))}"
