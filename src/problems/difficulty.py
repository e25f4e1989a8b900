"""How often a policy solves a problem, from the records of an evaluation, and which problems that leaves.

A pass rate of few trajectories is rough: the 95 % interval (Wilson 1927) of 0 of 8 is 0 to 0.32, that of
4 of 8 is 0.22 to 0.78, that of 0 of 32 is 0 to 0.11. Near its ends a range therefore keeps some problems that
lie outside and loses some that lie inside, and rates measured again are nearer to the mean.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from src.problems.problem import Problem, ProblemError
from src.run.records import TrajectoryRecord


@dataclass
class PassCount:
    """Of one problem: trajectories that count, correct ones, and those the infrastructure spoilt."""

    samples: int = 0
    correct: int = 0
    spoilt: int = 0

    @property
    def rate(self) -> float:
        """Share of correct trajectories."""
        return self.correct / self.samples


def tally(problems: Sequence[Problem], records: Iterable[TrajectoryRecord]) -> dict[str, PassCount]:
    """Return the tally of every problem, by its id.

    Raises:
        ProblemError: a record is of no such problem or of another text or answer, or is there twice.
    """
    asked = {problem.id: problem for problem in problems}
    tallies = {problem.id: PassCount() for problem in problems}
    seen: set[tuple[str, int]] = set()
    for record in records:
        problem = asked.get(record.problem_id)
        if problem is None or (problem.text, problem.answer) != (record.problem, record.gold):
            raise ProblemError(
                f"problem {record.problem_id} of the records is not among the problems that the evaluation "
                "names, or not with this text and answer: they have changed since; give path=FILE with those "
                "that were evaluated"
            )
        if (record.problem_id, record.sample) in seen:
            raise ProblemError(
                f"folders: trajectory {record.sample} of problem {record.problem_id} is there twice; give "
                "each shard once"
            )
        seen.add((record.problem_id, record.sample))
        one = tallies[record.problem_id]
        if record.stop_reason == "infrastructure":
            one.spoilt += 1
        else:
            one.samples += 1
            one.correct += record.correct
    return tallies


def verdict(one: PassCount, low: float, high: float, min_samples: int) -> str:
    """Return ``kept``, ``too hard``, ``too easy``, or ``unmeasured`` with fewer than ``min_samples``."""
    if one.samples < min_samples:
        return "unmeasured"
    if one.rate < low:
        return "too hard"
    return "too easy" if one.rate > high else "kept"


def by_subject(rows: Iterable[tuple[str | None, PassCount, str]]) -> dict[str, Any]:
    """Return problems, those kept, and the mean pass rate of those measured, of every subject.

    Args:
        rows: subject, tally and verdict of every problem.
    """
    groups: dict[str, list[tuple[PassCount, str]]] = defaultdict(list)
    for subject, found, judged in rows:
        groups[subject or "none"].append((found, judged))
    result = {}
    for subject, group in sorted(groups.items()):
        rates = [found.rate for found, judged in group if judged != "unmeasured"]
        result[subject] = {
            "problems": len(group),
            "kept": sum(judged == "kept" for _, judged in group),
            "mean_pass_rate": round(sum(rates) / len(rates), 4) if rates else None,
        }
    return result


def histogram(tallies: Iterable[tuple[PassCount, bool]], bins: int) -> list[dict[str, Any]]:
    """Return the number of problems, and of those kept, at the pass rates 0, 1/bins, ..., 1.

    A rate counts at the nearest of these, but only what was never solved at 0, and only what always was at 1.

    Args:
        tallies: with whether the problem is kept.
        bins: 2 or more.
    """
    rows = [{"rate": at / bins, "problems": 0, "kept": 0} for at in range(bins + 1)]
    for one, is_kept in tallies:
        nearest = (2 * one.correct * bins + one.samples) // (2 * one.samples)  # a half is rounded up
        inside = 0 < one.correct < one.samples
        row = rows[min(max(nearest, 1), bins - 1) if inside else nearest]
        row["problems"] += 1
        row["kept"] += is_kept
    return rows
