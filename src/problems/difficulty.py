"""Pass rates of problems from the records of an evaluation, and the problems that a filter on them keeps.

With few trajectories a pass rate is a rough estimate: the 95 % interval (Wilson 1927) of 0 of 8 is 0 to 0.32,
that of 4 of 8 is 0.22 to 0.78, that of 0 of 32 is 0 to 0.11. Near its limits, a range therefore keeps some
problems whose true rate is outside and drops some whose rate is inside; repeated measurements regress to the
mean.
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
    """Of one problem: valid trajectories, correct ones, and those lost to the infrastructure."""

    samples: int = 0
    correct: int = 0
    spoilt: int = 0

    @property
    def rate(self) -> float:
        """Fraction of correct trajectories."""
        return self.correct / self.samples


def tally(problems: Sequence[Problem], records: Iterable[TrajectoryRecord]) -> dict[str, PassCount]:
    """Return the tally of every problem, by its id.

    Raises:
        ProblemError: the problem of a record is missing or has another text or answer, or a record is
            repeated.
    """
    known = {problem.id: problem for problem in problems}
    tallies = {problem.id: PassCount() for problem in problems}
    seen: set[tuple[str, int]] = set()
    for record in records:
        problem = known.get(record.problem_id)
        if problem is None or (problem.text, problem.answer) != (record.problem, record.gold):
            raise ProblemError(
                f"path=null: problem {record.problem_id} of the records is not among the problems of the "
                "evaluation's settings with the same text and answer, so they have changed; give path=FILE "
                "with the evaluated problems"
            )
        if (record.problem_id, record.sample) in seen:
            raise ProblemError(
                f"folders: trajectory {record.sample} of problem {record.problem_id} is repeated; give each "
                "shard once"
            )
        seen.add((record.problem_id, record.sample))
        found = tallies[record.problem_id]
        if record.stop_reason == "infrastructure":
            found.spoilt += 1
        else:
            found.samples += 1
            found.correct += record.correct
    return tallies


def verdict(found: PassCount, low: float, high: float, min_samples: int) -> str:
    """Return ``kept``, ``too hard``, ``too easy``, or ``unmeasured`` with fewer than ``min_samples``."""
    if found.samples < min_samples:
        return "unmeasured"
    if found.rate < low:
        return "too hard"
    return "too easy" if found.rate > high else "kept"


def by_subject(rows: Iterable[tuple[str | None, PassCount, str]]) -> dict[str, Any]:
    """Return the number of problems, the number kept, and the mean measured pass rate by subject.

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
    """Return the numbers of problems, and of those kept, at the pass rates 0, 1/bins, ..., 1.

    A rate counts in the nearest bin, except that the bins 0 and 1 are for problems never or always solved.

    Args:
        tallies: with whether the problem is kept.
        bins: 2 or more.
    """
    rows = [{"rate": at / bins, "problems": 0, "kept": 0} for at in range(bins + 1)]
    for found, is_kept in tallies:
        nearest = (2 * found.correct * bins + found.samples) // (2 * found.samples)  # rounds half up
        inside = 0 < found.correct < found.samples
        row = rows[min(max(nearest, 1), bins - 1) if inside else nearest]
        row["problems"] += 1
        row["kept"] += is_kept
    return rows
