"""Evaluation of a policy on held-out problems, with intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest, bootstrap

from src.config import EvaluateConfig
from src.problems import Problem
from src.records import RecordWriter, TrajectoryRecord
from src.rollout.collector import Collector
from src.rollout.metrics import summarise


def accuracy_interval(outcomes: Sequence[Sequence[bool]], seed: int = 0) -> tuple[float, float]:
    """Return the 95 % interval of a mean accuracy.

    With one trajectory per problem, Wilson's (1927). With more, trajectories of one problem are not
    independent: the percentile bootstrap over problems.

    Args:
        outcomes: for every problem, whether each of its trajectories is correct.
        seed: of the bootstrap.
    """
    flat = [value for values in outcomes for value in values]
    if not flat:
        return (0.0, 1.0)
    if max(map(len, outcomes)) == 1:
        wilson = binomtest(sum(flat), len(flat)).proportion_ci(0.95, method="wilson")
        return (float(wilson.low), float(wilson.high))
    means = np.array([np.mean(values) for values in outcomes])
    if np.ptp(means) == 0:
        return (float(means[0]), float(means[0]))
    sampled = bootstrap((means,), np.mean, confidence_level=0.95, method="percentile", rng=seed)
    return (float(sampled.confidence_interval.low), float(sampled.confidence_interval.high))


def accuracy(records: Sequence[TrajectoryRecord]) -> dict[str, Any]:
    """Return ``accuracy``, ``interval`` and ``n`` of records, without the infrastructure's victims."""
    by_problem = defaultdict(list)
    for record in records:
        if record.stop_reason != "infrastructure":
            by_problem[record.problem_id].append(record.correct)
    flat = [value for values in by_problem.values() for value in values]
    return {
        "accuracy": float(np.mean(flat)) if flat else None,
        "interval": list(accuracy_interval(list(by_problem.values()))),
        "n": len(flat),
    }


def summary(records: Sequence[TrajectoryRecord]) -> dict[str, Any]:
    """Return accuracy over all and by subject, and every metric of the rollouts."""
    by_subject = defaultdict(list)
    for record in records:
        by_subject[record.subject or "none"].append(record)
    metrics = {name: value for name, value in summarise(records).items() if not name.startswith("accuracy")}
    return {
        **accuracy(records),
        "by_subject": {subject: accuracy(group) for subject, group in sorted(by_subject.items())},
        "metrics": metrics,
    }


def evaluate(
    collector: Collector,
    problems: Sequence[Problem],
    mode: str,
    cfg: EvaluateConfig,
    writer: RecordWriter,
    *,
    phase: str,
    step: int,
    attempt: int = 0,
    on_finish: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Sample ``cfg.k`` trajectories per problem in ``mode``, record them, return their summary.

    The global random state is left as it was: an evaluation does not change a training run.

    Args:
        collector: with the engine and the limits to use.
        problems: held out.
        mode: free, text or code.
        cfg: k, budget and seed.
        writer: where the trajectories are recorded.
        phase: ``before``, ``after``, ...; for the records, as are ``step`` and ``attempt``.
        step: rollout steps behind the policy.
        attempt: how often the run was resumed.
        on_finish: called as each trajectory finishes.
    """
    asked = [(problem, sample) for problem in problems for sample in range(cfg.k)]
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(cfg.seed)
        collected = collector.collect(
            asked,
            mode,
            cfg.budget,
            phase=phase,
            step=step,
            attempt=attempt,
            on_finish=(lambda index, trajectory: on_finish()) if on_finish else None,
        )
    writer.write_records(collected.records)
    return summary(collected.records)
