"""What makes the numbers of an evaluation biased: anything that ended long trajectories early."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from src.run import renamed

SUMMARY = "summary.json"
EVALUATE = "evaluate"  # the phase of python -m src.evaluate
_TOLERANCE = 0.97  # sampled over recorded tokens; the former follow from a rate and its seconds, roughly


def caveats(file: Path, table: pl.DataFrame) -> list[str]:
    """Return what must be said beside any number made of these records; empty if nothing must.

    Args:
        file: the records file; the evaluation's summary lies beside it.
        table: its trajectories of one phase, see ``analysis.data.derive``, the spoilt ones included.
    """
    found = []
    if table["phase"].eq(EVALUATE).any():
        found += _evaluation(file, table)
    stragglers = table["straggler"].sum()
    if stragglers:
        found.append(
            f"{stragglers} of {table.height} trajectories were ended by rollout.max_seconds, the long ones: "
            "accuracies and token counts are biased downwards"
        )
    spoilt = table["stop_reason"].eq("infrastructure").sum()
    if spoilt:
        found.append(
            f"{spoilt} of {table.height} trajectories were lost to the infrastructure and are left out"
        )
    return found


def _evaluation(file: Path, table: pl.DataFrame) -> list[str]:
    summary = file.parent / SUMMARY
    if not summary.is_file():
        return [
            f"there is no {SUMMARY} beside the records: the evaluation has not finished, and trajectories "
            "that end early are over-represented"
        ]
    if table["seed"].is_null().any() and _was_resumed(json.loads(summary.read_text()), table):
        return [
            "this evaluation was interrupted, and resumed by a version that drew unfinished trajectories "
            "anew: short ones without code are over-represented; evaluate again"
        ]
    return []


def _was_resumed(summary: dict[str, Any], table: pl.DataFrame) -> bool:
    """Whether the process that wrote the summary sampled less, or ran fewer programs, than is recorded."""
    rollouts = {
        mode: renamed.metrics(found["rollout"])
        for mode, found in summary["results"].items()
        if "rollout" in found
    }
    executions = table["executions"].sum()
    ran = max((one.get("sandbox/executions", 0) for one in rollouts.values()), default=executions)
    if executions > ran:
        return True
    for mode, one in rollouts.items():
        recorded = table.filter(pl.col("mode") == mode)["policy_tokens"].sum()
        seconds = one["seconds/generation"] + one["seconds/execution"]
        if one["engine/tokens_per_second"] * seconds < _TOLERANCE * recorded:
            return True
    return False
