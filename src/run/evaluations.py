"""The accuracies of a training run on benchmarks over its steps, ``evaluations/step-N/NAME/summary.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.run.records import SUMMARY

FOLDER = "evaluations"
PREFIX = "step-"
HELDOUT = "heldout"  # name of the held-out problems


@dataclass(frozen=True)
class Point:
    """One accuracy of a policy at a step."""

    step: int
    benchmark: str
    mode: str
    result: dict[str, Any]

    def metrics(self) -> dict[str, float]:
        """Return it for tracking: accuracies with their intervals, pass@k, and metrics of the rollouts."""
        found: dict[str, float] = {}
        for kind in ("", "_lenient"):
            accuracy = self.result.get(f"accuracy{kind}")
            if accuracy is not None:
                low, high = self.result[f"interval{kind}"]
                names = (f"accuracy{kind}", f"accuracy{kind}_low", f"accuracy{kind}_high")
                found |= dict(zip(names, (accuracy, low, high), strict=True))
        found |= {f"pass_at_{k}": value for k, value in self.result.get("pass_at_k", {}).items()}
        found |= self.result.get("metrics", {})
        return {f"{self.benchmark}/{self.mode}/{name}": value for name, value in found.items()}

    def json(self) -> dict[str, Any]:
        """Return it for summary.json."""
        names = ("accuracy", "interval", "n", "problems", "k", "accuracy_lenient", "interval_lenient")
        found = {name: self.result[name] for name in names if name in self.result}
        return {"step": self.step, "benchmark": self.benchmark, "mode": self.mode, **found}


def read_points(run_dir: Path) -> list[Point]:
    """Return the accuracies of all finished evaluations of a run, by step."""
    found = []
    for file in (run_dir / FOLDER).glob(f"{PREFIX}*/*/{SUMMARY}"):
        one = json.loads(file.read_text())
        found += [Point(one["step"], one["benchmark"], *pair) for pair in one["results"].items()]
    return sorted(found, key=lambda point: (point.step, point.benchmark != HELDOUT, point.benchmark))
