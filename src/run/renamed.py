"""Metrics and record fields that earlier versions wrote under other names: old name -> present name.

Whatever reads ``metrics.jsonl``, ``trajectories.jsonl`` or ``summary.json`` of a run reads them through this
module, so that old run folders stay readable. Renamed settings are in src/launch/resumption.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

METRICS = {
    "code_share": "tool_use_rate",
    "failed_share": "execution_failure_rate",
    "invented_share": "fabricated_output_rate",
    "repair_rate": "accuracy_after_failure",
    "budget_used_up": "budget_exhausted_rate",
    "tokens/dropped_share": "tokens/dropped_ratio",
    "engine/live_sequences": "engine/running_sequences",
    "engine/sampled_per_second": "engine/tokens_per_second",
    "dynamic/equal": "dynamic_sampling/frac_reward_zero_std",
    "dynamic/replaced": "dynamic_sampling/frac_replaced",
    "dynamic/rounds": "dynamic_sampling/rounds",
    # TRL's own metrics, which now keep TRL's names
    "groups/all_equal": "frac_reward_zero_std",
    "clip/low": "clip_ratio/low_mean",
    "clip/high": "clip_ratio/high_mean",
    "clip/region": "clip_ratio/region_mean",
    "sampling/logprob_difference_mean": "sampling/sampling_logp_difference/mean",
    "sampling/logprob_difference_max": "sampling/sampling_logp_difference/max",
    "sampling/importance_mean": "sampling/importance_sampling_ratio/mean",
    "sampling/importance_max": "sampling/importance_sampling_ratio/max",
}
RECORD_FIELDS = {"invented": "fabricated_output", "lenient": "correct_lenient"}


def metric(name: str) -> str:
    """Return the present name of a metric."""
    return METRICS.get(name, name)


def metrics(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return metrics under their present names."""
    return {METRICS.get(name, name): value for name, value in values.items()}


def record(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a trajectory record under their present names."""
    return {RECORD_FIELDS.get(name, name): value for name, value in fields.items()}
