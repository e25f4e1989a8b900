"""Folders of training runs with planted effects.

    python -m experiments.analysis.synthetic_runs OUT

Four arms of three seeds: ``staged`` (the budget rises twice, and accuracy dips there), ``fixed_2`` (worse,
but without dips), ``no mask`` (one large drop of the reward), ``same again`` (``staged`` with other random
numbers).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator

from src.run.disk import write_json
from src.run.records import (
    ExecutionRecord,
    LineWriter,
    RecordWriter,
    SegmentRecord,
    TrajectoryRecord,
)

STEPS = 60
RISES = (20, 40)


@dataclass(frozen=True)
class RunPlan:
    """What is planted in the runs of an arm.

    Attributes:
        heldout: mean accuracy after training.
        spread: its standard deviation over seeds.
        before, after: accuracy at the first and the last step of training; in between it rises evenly.
        dip: drop of accuracy for five steps from each rise of the budget on.
        fall: drop of the reward at step 30.
        rises: steps at which the budget rises by one.
        noise: standard deviation per step.
    """

    heldout: float = 0.7
    spread: float = 0.01
    before: float = 0.3
    after: float = 0.7
    dip: float = 0.0
    fall: float = 0.0
    rises: tuple[int, ...] = RISES
    noise: float = 0.01


PLANS = {
    "staged": RunPlan(dip=0.08),
    "fixed_2": RunPlan(heldout=0.4, after=0.6, rises=()),  # three seeds do not show 0.1 on 400 problems
    "no mask": RunPlan(dip=0.08, fall=0.9),
    "same again": RunPlan(dip=0.08),
}


def metrics(plan: RunPlan, draw: Generator, steps: int = STEPS) -> list[dict[str, Any]]:
    """Return the rows of metrics.jsonl; one step in seven has no failed execution."""
    rows = []
    for step in range(steps):
        dips = any(rise <= step < rise + 5 for rise in plan.rises)
        accuracy = plan.before + (plan.after - plan.before) * step / (steps - 1) - plan.dip * dips
        accuracy += draw.normal(0, plan.noise)
        row: dict[str, Any] = {
            "step": step, "attempt": 0, "wall_seconds": float(step), "accuracy": accuracy,
            "reward": 2 * accuracy - 1 - plan.fall * (step == 30),
            "budget": 2.0 + sum(step >= rise for rise in plan.rises),
        }  # fmt: skip
        if step % 7:
            row["accuracy_after_failure"] = 0.5 + draw.normal(0, plan.noise)
        rows.append(row)
    return rows


def heldout(plan: RunPlan, problems: int, k: int, draw: Generator) -> list[TrajectoryRecord]:
    """Return the records of an evaluation; a problem is as hard in every run."""
    ease = np.random.default_rng(99).uniform(-0.25, 0.25, problems)
    rate = np.clip(plan.heldout + draw.normal(0, plan.spread) + ease, 0, 1)
    segments, executions = [SegmentRecord("policy", "\\boxed{1}", 9)], [ExecutionRecord("ok", 0.1, None)]
    return [
        TrajectoryRecord(
            phase="after", mode="free", step=STEPS, attempt=0, sample=sample, problem_id=f"p{number}",
            problem="What?", gold="1", subject=None, level=None, source="synthetic", budget=4,
            prompt_tokens=9, segments=segments, executions=executions, stop_reason="answered",
            dropped_tokens=0, answer="1", correct=bool(draw.random() < rate[number]), rewards={"total": 1.0},
        )
        for number in range(problems)
        for sample in range(k)
    ]  # fmt: skip


def write_run(
    folder: Path, plan: RunPlan, seed: int, *, problems: int = 400, k: int = 1, luck: int = 0
) -> Path:
    """Write one run.

    Args:
        folder: of it.
        plan: what is planted.
        seed: recorded training seed.
        problems: held-out ones.
        k: trajectories of each.
        luck: distinguishes runs with the same seed and plan.
    """
    draw = np.random.default_rng([seed, luck, 1])
    with LineWriter(folder / "metrics.jsonl") as lines:
        lines.write(metrics(plan, draw))
    records = heldout(plan, problems, k, draw)
    with RecordWriter(folder / "trajectories.jsonl") as writer:
        writer.write_records([replace(records[0], phase="train", step=0, correct=False), *records])
    write_json(folder / "config.json", {"trainer": {"seed": seed}})
    write_json(folder / "summary.json", {"settings": {"commit": "synthetic", "seed": seed}})
    return folder


def write(out: Path, seeds: int = 3, problems: int = 400) -> dict[str, list[str]]:
    """Write a run of every arm and seed; return their folders, as ``analysis.ablation`` takes them."""
    return {
        arm: [
            str(write_run(out / arm.replace(" ", "-") / str(seed), plan, seed, problems=problems, luck=luck))
            for seed in range(seeds)
        ]
        for luck, (arm, plan) in enumerate(PLANS.items())
    }


def main() -> None:
    """Parse the arguments, write, and say what to run."""
    parser = argparse.ArgumentParser(description="training runs with planted effects")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    arms = write(arguments.out, arguments.seeds)
    shown = ", ".join(f"{arm}: [{', '.join(folders)}]" for arm, folders in arms.items())
    print(f"python -m analysis.ablation 'arms={{{shown}}}' baseline=staged")


if __name__ == "__main__":
    main()
