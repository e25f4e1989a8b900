"""Numbers that describe a batch of trajectories."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from src.records import TrajectoryRecord

STOP_REASONS = ("answered", "length", "budget", "void", "infrastructure")
_NOT_FAILED = ("ok", "infrastructure")


def mean(values: Sequence[float]) -> float:
    """Mean, or nan of nothing."""
    return sum(values) / len(values) if values else float("nan")


def failed(record: TrajectoryRecord) -> int:
    """Number of executions whose code is at fault."""
    return sum(execution.status not in _NOT_FAILED for execution in record.executions)


def summarise(records: Sequence[TrajectoryRecord]) -> dict[str, float]:
    """Return the metrics of a batch; shares and means without the infrastructure's victims.

    ``tokens/dropped_share`` is the share of sampled tokens that were thrown away, ``repair_rate`` that of
    correct trajectories among those with a failed execution.
    A metric without a case to count (no execution failed, say) is left out.
    """
    scored = [record for record in records if record.stop_reason != "infrastructure"]
    executions = [e for r in scored for e in r.executions if e.status != "infrastructure"]
    by_subject = defaultdict(list)
    for record in scored:
        by_subject[record.subject or "none"].append(record.correct)
    metrics = {
        "reward": mean([r.rewards["total"] for r in scored if r.rewards is not None]),
        "accuracy": mean([r.correct for r in scored]),
        "executions_per_trajectory": len(executions) / len(scored) if scored else float("nan"),
        "code_share": mean([bool(r.executions) for r in scored]),
        "failed_share": mean([e.status != "ok" for e in executions]),
        "repair_rate": mean([r.correct for r in scored if failed(r)]),
        "tokens/policy": mean([r.tokens("policy") for r in scored]),
        "tokens/feedback": mean([r.tokens("sandbox") for r in scored]),
        "tokens/dropped": mean([r.dropped_tokens for r in scored]),
    }
    sampled = sum(r.tokens("policy") + r.dropped_tokens for r in scored)
    if sampled:
        metrics["tokens/dropped_share"] = sum(r.dropped_tokens for r in scored) / sampled
    for reason in STOP_REASONS:
        metrics[f"stop/{reason}"] = mean([r.stop_reason == reason for r in records])
    for subject, values in sorted(by_subject.items()):
        metrics[f"accuracy/{subject}"] = mean(values)
    return {name: value for name, value in metrics.items() if value == value}
