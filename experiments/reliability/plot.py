"""``python -m experiments.reliability.plot RESULTS ...``: outcomes of the faults, as PNG and SVG.

Each of ``RESULTS`` is a campaign's ``campaign.jsonl``. Beside the figure, ``summary.json`` has the counts.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from experiments.reliability.chaos import applied, read
from experiments.reliability.faults import FAULTS
from src.run.disk import write_json

HERE = Path(__file__).parent / "result"
_OUTCOMES = {"went on": "#4c9f70", "resumed": "#4c72b0", "violation": "#c44e52"}


def counts(runs: list[dict[str, Any]]) -> dict[str, Counter[str]]:
    """Return how often each kind of fault had each outcome."""
    found: dict[str, Counter[str]] = {name: Counter() for name in FAULTS}
    for one in runs:
        for fault, outcome in zip(one["faults"], one["outcomes"], strict=True):
            found[fault][outcome] += 1
    return found


def draw(runs: list[dict[str, Any]], folder: Path) -> None:
    """Draw outcomes by kind of fault, and the time of each run beside that of the calm one."""
    found = counts(runs)
    names = list(found)[::-1]
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5.5), width_ratios=(3, 2), layout="constrained")
    begin = np.zeros(len(names))
    for outcome, colour in _OUTCOMES.items():
        values = np.array([found[name][outcome] for name in names], dtype=float)
        left.barh(names, values, left=begin, color=colour, label=outcome)
        begin += values
    left.set_xlabel("faults that met a run")
    left.set_title(f"{len(runs)} runs, {applied(runs)} faults")
    left.legend(frameon=False, loc="lower right")
    subjects = sorted({one["subject"] for one in runs})
    for place, subject in enumerate(subjects):
        mine = [one for one in runs if one["subject"] == subject]
        number = [sum(outcome != "not reached" for outcome in one["outcomes"]) for one in mine]
        ratio = [one["seconds"] / one["calm_seconds"] for one in mine]
        right.plot(
            np.add(number, 0.13 * (place - (len(subjects) - 1) / 2)),
            ratio,
            "o",
            alpha=0.6,
            label=f"{subject} (n={len(mine)})",
        )
    right.axhline(1.0, color="0.6", linewidth=1)
    right.set_xlabel("faults in the run")
    right.set_ylabel("time of the run / time of the calm run")
    right.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.1))
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("png", "svg"):
        figure.savefig(folder / f"chaos.{kind}", dpi=120)
    plt.close(figure)


def main() -> None:
    """Draw, and write the counts."""
    if len(sys.argv) < 2:
        sys.exit("usage: python -m experiments.reliability.plot RESULTS ...")
    runs = []
    for name in sys.argv[1:]:
        found = list(read(Path(name)).values())
        if not found:
            sys.exit(f"error: {name} has no runs")
        runs += found
    draw(runs, HERE)
    broken = [one for one in runs if one["violations"]]
    write_json(
        HERE / "summary.json",
        {
            "runs": len(runs),
            "by_subject": dict(Counter(one["subject"] for one in runs)),
            "faults": applied(runs),
            "outcomes": {name: dict(found) for name, found in counts(runs).items()},
            "violations": [
                {name: one[name] for name in ("number", "subject", "faults", "violations")} for one in broken
            ],
        },
    )
    print(
        f"{HERE / 'chaos.png'}: {len(runs)} runs, {applied(runs)} faults, {len(broken)} runs with a violation"
    )


if __name__ == "__main__":
    main()
