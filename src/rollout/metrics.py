"""Metrics of a batch of trajectories."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from src.run.processes import Ranks
from src.run.records import TrajectoryRecord

STOP_REASONS = ("answered", "no_answer", "length", "budget", "void", "infrastructure")
_NOT_FAILED = ("ok", "infrastructure")


def failed(record: TrajectoryRecord) -> int:
    """Return the number of executions that failed because of their code."""
    return sum(execution.status not in _NOT_FAILED for execution in record.executions)


def _wrote(record: TrajectoryRecord) -> bool:
    """Whether the policy wrote anything other than white space."""
    return any(segment.author == "policy" and segment.text.strip() for segment in record.segments)


class Tally:
    """Aggregates records one by one without keeping them: those of a step or of a whole evaluation."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = defaultdict(float)
        self._counts: dict[str, int] = defaultdict(int)
        self._squares: dict[str, float] = defaultdict(float)  # of rewards, whose deviation is wanted
        self._sampled = self._dropped = 0

    def add(self, record: TrajectoryRecord) -> None:
        """Add a record."""
        for reason in STOP_REASONS:
            self._mean(f"stop/{reason}", record.stop_reason == reason)
        if record.stop_reason == "infrastructure":
            return
        executions = [e for e in record.executions if e.status != "infrastructure"]
        policy = record.tokens("policy")
        for term, value in (record.rewards or {}).items():
            name = "" if term == "total" else f"/{term}"
            self._mean(f"reward{name}", value)
            self._squares[name] += value * value
        self._mean("accuracy", record.correct)
        self._mean("correct_without_text", record.correct and not _wrote(record))
        self._mean("grading_failure_rate", record.grading_failure is not None)
        if record.correct_lenient is not None:
            self._mean("accuracy_lenient", record.correct_lenient)
        if record.fabricated_output is not None:
            self._mean("fabricated_output_rate", record.fabricated_output)
        self._mean("executions_per_trajectory", len(executions))
        self._mean("budget_exhausted_rate", 0 < record.budget <= len(executions))
        self._mean("tool_use_rate", bool(record.executions))
        for execution in executions:
            self._mean("execution_failure_rate", execution.status != "ok")
        if failed(record):
            self._mean("accuracy_after_failure", record.correct)
        self._mean("tokens/policy", policy)
        self._mean("tokens/feedback", record.tokens("tool"))
        self._mean("tokens/dropped", record.dropped_tokens)
        self._sampled += policy + record.dropped_tokens
        self._dropped += record.dropped_tokens
        self._mean(f"accuracy/{record.subject or 'none'}", record.correct)

    def _mean(self, name: str, value: float) -> None:
        self._sums[name] += value
        self._counts[name] += 1

    def merge(self, other: Tally) -> None:
        """Add the records of ``other``."""
        for name, value in other._sums.items():
            self._sums[name] += value
            self._counts[name] += other._counts[name]
        for name, value in other._squares.items():
            self._squares[name] += value
        self._sampled += other._sampled
        self._dropped += other._dropped

    def metrics(self) -> dict[str, float]:
        """Return rates and means; see :func:`summarise`."""
        found = {name: self._sums[name] / count for name, count in self._counts.items()}
        for name, total in self._squares.items():
            variance = total / self._counts[f"reward{name}"] - found[f"reward{name}"] ** 2
            found[f"reward_std{name}"] = math.sqrt(max(0.0, variance))
        if self._sampled:
            found["tokens/dropped_ratio"] = self._dropped / self._sampled
        return found


def summarise(records: Iterable[TrajectoryRecord], ranks: Ranks | None = None) -> dict[str, float]:
    """Return the metrics of a batch; rates and means leave out trajectories lost to the infrastructure.

    ``tool_use_rate``: fraction of trajectories with at least one call. ``execution_failure_rate``: fraction
    of executions that fail. ``accuracy_after_failure``: accuracy of the trajectories with a failed execution.
    ``budget_exhausted_rate``: fraction of trajectories with as many executions as their budget allows.
    ``reward/TERM``: mean of a reward term; ``reward_std``, ``reward_std/TERM``: standard deviation over
    trajectories.
    ``tokens/dropped_ratio``: fraction of sampled tokens that were discarded.
    ``fabricated_output_rate``: fraction of trajectories in which the policy itself wrote the content of an
    output block, that is, opened one and wrote anything other than white space in it: in place of feedback,
    beyond its budget or, with ``rollout.boundary=post_hoc``, in text that was discarded. A block that the
    policy opens and the sandbox fills (``stop_string``) does not count.
    A metric without any data (for example, if no execution failed) is omitted.

    Args:
        records: of this process.
        ranks: processes whose records count too; all of them return the same metrics.
    """
    tally = Tally()
    for record in records:
        tally.add(record)
    if ranks is None:
        return tally.metrics()
    merged = Tally()
    for part in ranks.gather(tally):
        merged.merge(part)
    return merged.metrics()


def over_ranks(everyone: Sequence[dict[str, float]]) -> dict[str, float]:
    """Combine the metrics of several processes.

    Phase timings (``seconds/...``) are averaged, percentiles (``..._seconds``) are the largest of all
    processes, counts and rates are summed.
    """

    def joined(name: str) -> float:
        values = [numbers.get(name, 0.0) for numbers in everyone]
        if name.startswith("seconds/"):
            return sum(values) / len(values)
        return max(values) if name.endswith("_seconds") else sum(values)

    return {name: joined(name) for name in dict.fromkeys(name for numbers in everyone for name in numbers)}
