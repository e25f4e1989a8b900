"""Takes repeated problems and problems of benchmarks out of the training problems, and says which."""

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
    """Return the problems that are left, in their order, and the report.

    Problems of the same words are one problem. It goes, with all its copies, if it is a benchmark's or if its
    copies have different answers, of which none can be trusted; otherwise its first copy stays.

    Args:
        problems: of training.
        against: problems that none of them may be, by the name of their benchmark.
        cfg: what counts as overlap.

    Returns:
        Problems, and the number of what was read, kept and removed for each reason, with the ids.

    Raises:
        ProblemError: nothing is left.
    """
    named = [(name, problem) for name, of_it in against.items() for problem in of_it]
    benchmarks = Benchmarks(named, cfg.ngram, cfg.overlap)
    said: dict[str, tuple[str, ...]] = {}  # texts are often repeated literally: each is split once
    copies: dict[tuple[str, ...], list[Problem]] = defaultdict(list)
    for problem in problems:
        if problem.text not in said:
            said[problem.text] = tuple(words(problem.text))
        copies[said[problem.text]].append(problem)

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
            of_benchmarks += [{"id": one.id, **is_one} for one in same]
        elif len({answer_key(answer) for answer in {one.answer for one in same}}) > 1:
            conflicting += [{"id": one.id, "answer": one.answer, "of": same[0].id} for one in same]
        else:
            kept.append(same[0])
            repeated += [{"id": one.id, "of": same[0].id} for one in same[1:]]
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
            f"data: none of {len(problems)} training problems is left ({removals(report)}); look at "
            "data.clean.against, data.clean.overlap and what is held out, or set data.clean.enabled=false"
        )
    return kept, report


def removals(report: dict[str, Any]) -> str:
    """Return how many problems were removed for each reason, in words."""
    number = {reason: rows["number"] for reason, rows in report["removed"].items()}
    hit = [f"{name} {one['removed']}" for name, one in report["benchmarks"].items() if one["removed"]]
    of_benchmarks = f"{number['benchmark']} of benchmarks" + (f" ({', '.join(hit)})" if hit else "")
    return f"{number['repeated']} repeated, {number['conflicting']} with conflicting answers, {of_benchmarks}"
