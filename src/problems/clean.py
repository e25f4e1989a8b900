"""Deduplicates and decontaminates the training problems, with a report."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from src.config import CleanConfig
from src.problems.overlap import Benchmarks
from src.problems.problem import Problem, ProblemError
from src.problems.words import answer_key, words

LISTED = 10_000  # ids of each kind in the report; numbers always count all


def clean(
    problems: Sequence[Problem], against: dict[str, list[Problem]], cfg: CleanConfig
) -> tuple[list[Problem], dict[str, Any]]:
    """Return the remaining problems, in their order, and the report.

    Problems with the same words are duplicates. All copies are removed if they match a benchmark problem, or
    if they have different answers, none of which can be trusted; otherwise the first copy is kept.

    Args:
        problems: of training.
        against: problems to decontaminate against, by the name of their benchmark.
        cfg: length and fraction of overlapping n-grams.

    Returns:
        The problems, and the numbers read, kept and removed for each reason, with ids.

    Raises:
        ProblemError: no problem is left.
    """
    named = [(name, problem) for name, of_it in against.items() for problem in of_it]
    benchmarks = Benchmarks(named, cfg.ngram, cfg.overlap)
    split: dict[str, tuple[str, ...]] = {}  # a cache, since many texts are exact duplicates
    copies: dict[tuple[str, ...], list[Problem]] = defaultdict(list)
    for problem in problems:
        if problem.text not in split:
            split[problem.text] = tuple(words(problem.text))
        copies[split[problem.text]].append(problem)

    kept: list[Problem] = []
    of_benchmarks: list[dict[str, Any]] = []
    conflicting: list[dict[str, Any]] = []
    repeated: list[dict[str, Any]] = []
    by_name = dict.fromkeys(against, 0)
    for key, same in copies.items():
        match = benchmarks.find(key)
        if match:
            by_name[match.against] += len(same)
            is_one = {"against": match.against, "problem": match.id, "overlap": round(match.overlap, 3)}
            of_benchmarks += [{"id": copy.id, **is_one} for copy in same]
        elif len({answer_key(answer) for answer in {copy.answer for copy in same}}) > 1:
            conflicting += [{"id": copy.id, "answer": copy.answer, "of": same[0].id} for copy in same]
        else:
            kept.append(same[0])
            repeated += [{"id": copy.id, "of": same[0].id} for copy in same[1:]]
    report = {
        "read": len(problems),
        "kept": len(kept),
        "benchmarks": {
            name: {"problems": len(of_it), "removed": by_name[name]} for name, of_it in against.items()
        },
        "removed": {
            reason: {"number": len(rows), "listed": rows[:LISTED]}
            for reason, rows in (
                ("repeated", repeated), ("conflicting", conflicting), ("benchmark", of_benchmarks)
            )
        },
    }  # fmt: skip
    if not kept:
        raise ProblemError(
            f"data.clean.enabled=true: none of {len(problems)} training problems is left "
            f"({removals(report)}); check data.clean.against, data.clean.overlap and the held-out set, or "
            "set data.clean.enabled=false"
        )
    return kept, report


def removals(report: dict[str, Any]) -> str:
    """Return how many problems were removed for each reason, as text."""
    number = {reason: rows["number"] for reason, rows in report["removed"].items()}
    hit = [f"{name} {row['removed']}" for name, row in report["benchmarks"].items() if row["removed"]]
    of_benchmarks = f"{number['benchmark']} of benchmarks" + (f" ({', '.join(hit)})" if hit else "")
    return f"{number['repeated']} repeated, {number['conflicting']} with conflicting answers, {of_benchmarks}"
