"""Which arms are compared, and their problems side by side."""

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
        AnalysisError: an arm that is not there.
    """
    arms = table.select("arm", "policy", "mode").unique().sort("arm").rows()
    if chosen is None:
        return [(a, b) for (a, p, m), (b, q, o) in combinations(arms, 2) if p == q or m == o]
    names = [arm for arm, _, _ in arms]
    for index, pair in enumerate(chosen):
        if len(pair) != 2 or not set(pair) <= set(names):
            raise AnalysisError(f"pairs[{index}]={pair}: give two of the arms {', '.join(names)}")
    return [(first, second) for first, second in chosen]


def side_by_side(problems: pl.DataFrame, one: str, other: str) -> pl.DataFrame:
    """Return the problems of both arms, a row each, the second arm's columns ending in ``_other``.

    Args:
        problems: a row per arm and problem.
        one: the first arm.
        other: the second.

    Raises:
        AnalysisError: they have no problem in common.
    """
    both = problems.filter(pl.col("arm") == one).join(
        problems.filter(pl.col("arm") == other), on="problem_id", suffix="_other", maintain_order="left"
    )
    if both.is_empty():
        raise AnalysisError(f"pairs: {one} and {other} have no problem in common")
    return both


def sampled(problems: pl.DataFrame) -> str:
    """Return how many trajectories a problem has: ``8``, ``6-8`` or, of two arms, ``8 and 16``.

    Args:
        problems: a row per problem, with ``n``, and with ``n_other`` where it is of two arms.
    """
    columns = [problems[name] for name in ("n", "n_other") if name in problems.columns]
    spans = [span(int(one.min() or 0), int(one.max() or 0)) for one in columns]  # type: ignore[arg-type]
    return " and ".join(dict.fromkeys(spans))


# Of trajectories: how many of them rollout.max_seconds ended. Records that do not say count as none.
STRAGGLERS = pl.col("straggler").sum().cast(pl.Int64).alias("stragglers")


def size_of(problems: pl.DataFrame) -> str:
    """Return ``problems x trajectories of each``; ``n`` is a column, a row is a problem (of an arm)."""
    return f"{problems['problem_id'].n_unique():,} x {sampled(problems.select('n'))}"
