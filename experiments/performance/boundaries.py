"""``python -m experiments.performance.boundaries FOLDERS``: what each ``rollout.boundary`` costs.

The folders are evaluations of one policy on the same problems, one for each choice. Writes counts of tokens,
executions and correct answers to ``experiments/performance/rollout/boundaries.json``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from src.run.intervals import wilson
from src.run.records import CONFIG, SUMMARY

OUT = Path("experiments/performance/rollout/boundaries.json")


def counted(folder: Path) -> dict[str, Any]:
    """Return the counts of an evaluation."""
    lines = (folder / "trajectories.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    policy = [one for record in records for one in record["segments"] if one["author"] == "policy"]
    dropped = sum(record["dropped_tokens"] for record in records)
    sampled = sum(one["tokens"] for one in policy) + dropped
    right, n = sum(record["correct"] for record in records), len(records)
    low, high = wilson(right, n, 0.95)
    return {
        "trajectories": n,
        "sampled": sampled,
        "dropped": dropped,
        "dropped_ratio": dropped / sampled,
        "executions": sum(len(record["executions"]) for record in records),
        "fabricated_output_rate": sum(record["fabricated_output"] for record in records) / n,
        "accuracy": {"value": right / n, "low": low, "high": high},
    }


def main(folders: list[str]) -> None:
    """Write the counts of all folders."""
    found = {}
    for folder in map(Path, folders):
        boundary = json.loads((folder / CONFIG).read_text())["rollout"]["boundary"]
        settings = json.loads((folder / SUMMARY).read_text())["settings"]
        found[boundary] = {"commit": settings["commit"], **counted(folder)}
    OUT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
