"""Caveats: what biases the numbers of an evaluation by ending long trajectories early."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from src.run import renamed
from src.run.records import SUMMARY

EVALUATE = "evaluate"  # the phase of python -m src.evaluate
_TOLERANCE = 0.97  # of sampled over recorded tokens; the former is rate x seconds, an approximation


def caveats(file: Path, table: pl.DataFrame) -> list[str]:
    """Return the caveats of all numbers computed from these records; empty if there are none.

    Args:
        file: the records file; the evaluation's summary is in the same folder.
        table: its trajectories of one phase, see ``analysis.record_table.derive``, with those lost to the
            infrastructure.
    """
    found = []
    if table["phase"].eq(EVALUATE).any():
        found += _evaluation(file, table)
    stragglers = table["straggler"].sum()
    if stragglers:
        found.append(
            f"{stragglers} of {table.height} trajectories, the longest, were ended by rollout.max_seconds: "
            "accuracies and token counts are biased downwards"
        )
    lost = table["stop_reason"].eq("infrastructure").sum()
    if lost:
        found.append(
            f"{lost} of {table.height} trajectories were lost to the infrastructure and are left out"
        )
    return found


def _evaluation(file: Path, table: pl.DataFrame) -> list[str]:
    summary = file.parent / SUMMARY
    if not summary.is_file():
        return [
            f"the records have no {SUMMARY}: the evaluation has not finished, and trajectories that end "
            "early are over-represented"
        ]
    if table["seed"].is_null().any() and _was_resumed(json.loads(summary.read_text()), table):
        return [
            "this evaluation was interrupted and resumed by a version that resampled unfinished "
            "trajectories: short ones without code are over-represented; evaluate again"
        ]
    return []


def _was_resumed(summary: dict[str, Any], table: pl.DataFrame) -> bool:
    """Whether the process that wrote the summary sampled fewer tokens or ran fewer programs than recorded."""
    rollouts = {
        mode: renamed.metrics(found["rollout"])
        for mode, found in summary["results"].items()
        if "rollout" in found
    }
    executions = table["executions"].sum()
    ran = max((rollout.get("sandbox/executions", 0) for rollout in rollouts.values()), default=executions)
    if executions > ran:
        return True
    for mode, rollout in rollouts.items():
        recorded = table.filter(pl.col("mode") == mode)["policy_tokens"].sum()
        seconds = rollout["seconds/generation"] + rollout["seconds/execution"]
        if rollout["engine/tokens_per_second"] * seconds < _TOLERANCE * recorded:
            return True
    return False
