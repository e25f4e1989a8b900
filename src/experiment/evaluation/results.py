"""Aggregates the records of an evaluation: accuracy with its interval, and every other metric."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from src.rollout.metrics import Tally
from src.run.intervals import SHARE, mean_limits, widened, wilson
from src.run.pass_at_k import pass_at_k
from src.run.records import TrajectoryRecord
from src.sandbox import InfrastructureError


def accuracy_interval(outcomes: Sequence[Sequence[bool]], seed: int = 0) -> tuple[float, float]:
    """Return the 95 % confidence interval of a mean accuracy.

    With one trajectory per problem this is Wilson's interval (1927), or the exact one (Clopper and Pearson
    1934) if none or all are correct, where Wilson's is too narrow. With several, the trajectories of a
    problem are not independent, and it is the interval of the mean over problems
    (:func:`src.run.intervals.mean_limits`).

    Args:
        outcomes: for every problem, whether each of its trajectories is correct.
        seed: for the bootstrap.
    """
    if not outcomes:
        return SHARE
    if max(map(len, outcomes)) == 1:
        right, n = sum(value for (value,) in outcomes), len(outcomes)
        low, high = widened(right / n, *wilson(right, n, 0.95), n, SHARE, 0.95)
    else:
        low, high = mean_limits([np.mean(values) for values in outcomes], SHARE, 9999, 0.95, seed)
    return (float(low), float(high))


class Results:
    """Accuracy, overall and by subject, and the metrics of records that are added one by one.

    Only the outcome of each trajectory is kept, so that an evaluation can have any size.
    """

    def __init__(self, records: Iterable[TrajectoryRecord] = ()) -> None:
        self._tally = Tally()
        self._outcomes: dict[str, dict[str, list[bool]]] = {}  # by subject and problem
        self._lost: dict[str, Counter[str]] = {}  # trajectories lost to the infrastructure, likewise
        self._lenient: dict[str, dict[str, list[bool]]] = {}  # leniently graded
        self._stragglers = 0
        for record in records:
            self.add(record)

    def add(self, record: TrajectoryRecord) -> None:
        """Add a record."""
        self._tally.add(record)
        self._stragglers += bool(record.straggler)
        subject = record.subject or "none"
        outcomes = self._outcomes.setdefault(subject, {})
        if record.stop_reason == "infrastructure":
            self._lost.setdefault(subject, Counter())[record.problem_id] += 1
        else:
            outcomes.setdefault(record.problem_id, []).append(record.correct)
            if record.correct_lenient is not None:
                lenient = self._lenient.setdefault(subject, {})
                lenient.setdefault(record.problem_id, []).append(record.correct_lenient)

    def merge(self, other: Results) -> None:
        """Add the records of ``other``."""
        self._tally.merge(other._tally)
        self._stragglers += other._stragglers
        for subject, lost in other._lost.items():
            self._lost.setdefault(subject, Counter()).update(lost)
        for mine, theirs in ((self._outcomes, other._outcomes), (self._lenient, other._lenient)):
            for subject, problems in theirs.items():
                ours = mine.setdefault(subject, {})
                for name, values in problems.items():
                    ours.setdefault(name, []).extend(values)

    def summary(self) -> dict[str, Any]:
        """Return the accuracy, overall and by subject, and every metric of the rollouts.

        ``stragglers`` counts the trajectories that ``rollout.max_seconds`` ended; they are graded as is.
        ``infrastructure`` counts those lost to infrastructure failures; the accuracy excludes them, and
        ``lost_as_wrong`` counts them as wrong. Long trajectories are affected more often than short ones, so
        the accuracy is biased if either is above 0. ``accuracy_lenient`` and ``interval_lenient`` are present
        if all trajectories were also graded leniently (``reward.lenient``); ``pass_at_k`` if each problem
        has several, for the powers of two and the most.
        """
        metrics = self._tally.metrics()
        return {
            **self._accuracies(list(self._outcomes)),
            **self._pass_at_k(),
            "stragglers": self._stragglers,
            "infrastructure": self.lost,
            **({"lost_as_wrong": _accuracy(self._with_lost())} if self.lost else {}),
            "by_subject": {subject: self._accuracies([subject]) for subject in sorted(self._outcomes)},
            "metrics": {name: value for name, value in metrics.items() if not _is_accuracy(name)},
        }

    def _pass_at_k(self) -> dict[str, Any]:
        known = [values for problems in self._outcomes.values() for values in problems.values()]
        most = min(map(len, known), default=0)
        if most < 2:
            return {}
        found = pass_at_k(np.array([len(one) for one in known]), np.array([sum(one) for one in known]), most)
        sizes = sorted({*(2**power for power in range(1, most.bit_length())), most})
        return {"pass_at_k": {str(k): float(found[:, k - 1].mean()) for k in sizes}}

    def _accuracies(self, subjects: Sequence[str]) -> dict[str, Any]:
        """Return the accuracy over all problems of ``subjects``, and the lenient one beside it."""
        strict, lenient = (
            _accuracy([values for subject in subjects for values in outcomes.get(subject, {}).values()])
            for outcomes in (self._outcomes, self._lenient)
        )
        if lenient["n"] == 0 or lenient["n"] < strict["n"]:
            return strict
        return {
            **strict,
            "accuracy_lenient": lenient["accuracy"],
            "interval_lenient": lenient["interval"],
        }

    @property
    def lost(self) -> int:
        """Number of trajectories lost to the infrastructure."""
        return sum(lost.total() for lost in self._lost.values())

    def refuse_losses(self, most: float, label: str, remedy: str) -> None:
        """Raise InfrastructureError if more than the fraction ``most`` of the trajectories were lost.

        Args:
            most: ``evaluate.max_infrastructure_failure_rate``.
            label: what was evaluated, for the message.
            remedy: how to go on.
        """
        everyone = self.lost + sum(
            len(values) for problems in self._outcomes.values() for values in problems.values()
        )
        if self.lost > most * everyone:
            raise InfrastructureError(
                f"{self.lost} of {everyone} trajectories ({label}) were lost to the infrastructure, more "
                f"than evaluate.max_infrastructure_failure_rate={most:g}, so that the accuracy of the others "
                f"says little; mend the sandbox, then {remedy}"
            )

    def _with_lost(self) -> list[list[bool]]:
        """Return the outcomes by problem, lost trajectories as wrong ones."""
        found = []
        for subject, problems in self._outcomes.items():
            lost = self._lost.get(subject, Counter())
            found += [problems.get(name, []) + [False] * lost[name] for name in {*problems, *lost}]
        return found


def _is_accuracy(metric: str) -> bool:
    """Whether a metric is an accuracy, which the summary reports outside of ``metrics``."""
    return metric in ("accuracy", "accuracy_lenient") or metric.startswith("accuracy/")


def _accuracy(outcomes: Sequence[Sequence[bool]]) -> dict[str, Any]:
    """Return the mean accuracy over problems, its interval, and the numbers of problems and trajectories."""
    known = [values for values in outcomes if values]
    sizes = [len(values) for values in known] or [0]
    return {
        "accuracy": float(np.mean([np.mean(values) for values in known])) if known else None,
        "interval": list(accuracy_interval(known)),
        "n": sum(sizes),
        "problems": len(known),
        "k": [min(sizes), max(sizes)],  # fewest and most trajectories per problem
    }
