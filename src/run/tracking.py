"""Logs a training run to Weights & Biases; offline, neither an account nor a network is needed.

``train/...``: the metrics of metrics.jsonl, histograms and a table of samples, over ``train/step``.
``eval/BENCHMARK/MODE/...``: accuracies, over ``eval/step``, the steps that the policy was trained for.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from src.config import Config
from src.run import naming
from src.run.dashboard import start_run
from src.run.evaluations import Point
from src.run.records import TrajectoryRecord

TRAIN, EVAL = "train", "eval"
COLUMNS = [
    *("step", "phase", "mode", "problem_id", "sample", "problem", "trajectory", "gold", "answer"),
    *("correct", "reward", "advantage", "stop_reason", "executions"),
]
_SUMMARISED = ("reward", "accuracy")  # whose mean and best are in the summary, beside the last value
_ID, _NAME, _OVERRIDES = "wandb_id", "wandb_name", "overrides"

# A trajectory that is trained on, and its advantage.
Trained = tuple[TrajectoryRecord, float]


class Tracker:
    """Logs a run; every method is a no-op when ``tracking.mode`` is ``none``.

    Args:
        cfg: the whole configuration, stored with the run.
        run_dir: folder for the W&B files.
        earlier: :attr:`identity` of the resumed run.
        write: True on rank 0 only.
    """

    def __init__(
        self, cfg: Config, run_dir: Path, earlier: Mapping[str, Any] | None = None, *, write: bool = True
    ) -> None:
        self._samples, earlier = cfg.tracking.samples, earlier or {}
        self._run: Any = None
        if cfg.tracking.mode == "none" or not write:
            return
        given = naming.overrides()
        # a resumed run keeps its name; what is given then, is added
        self._overrides = [*earlier.get(_OVERRIDES, []), *given] if earlier.get(_ID) else given
        named = earlier.get(_NAME) if earlier.get(_ID) else naming.run_name(given)
        self._name: str = cfg.tracking.name or named or run_dir.name
        self._run = start_run(
            cfg.tracking.mode,
            run_dir,
            cfg.tracking.init_timeout,
            project=cfg.tracking.project,
            entity=cfg.tracking.entity,
            name=self._name,
            group=cfg.tracking.group or naming.sweep_name(),
            job_type=TRAIN,
            tags=cfg.tracking.tags,
            config=asdict(cfg) | {"overrides": self._overrides, "folder": str(run_dir)},
            id=earlier.get(_ID),
            resume="allow" if earlier.get(_ID) else None,
        )
        for prefix in (TRAIN, EVAL):
            self._run.define_metric(f"{prefix}/step", hidden=True)
            self._run.define_metric(f"{prefix}/*", step_metric=f"{prefix}/step")
        for name in _SUMMARISED:
            self._run.define_metric(f"{TRAIN}/{name}", step_metric=f"{TRAIN}/step", summary="last,mean,max")

    @property
    def identity(self) -> dict[str, Any]:
        """What a run that resumes this one needs in order to be the same run in W&B; empty without W&B."""
        if self._run is None:
            return {}
        return {_ID: self._run.id, _NAME: self._name, _OVERRIDES: self._overrides}

    def step(
        self,
        step: int,
        metrics: Mapping[str, float],
        records: Sequence[TrajectoryRecord] = (),
        trained: Sequence[Trained] = (),
    ) -> None:
        """Log a rollout step.

        Args:
            step: rollout step, from 0.
            metrics: its metrics.
            records: all its trajectories, of this process.
            trained: those that are trained on, of which the first of each problem are shown.
        """
        if self._run is None:
            return
        row: dict[str, Any] = {f"{TRAIN}/{name}": value for name, value in metrics.items()}
        row |= _histograms(records, trained) | {f"{TRAIN}/step": step}
        shown = spread(trained, self._samples)
        if shown:
            import wandb

            # a table of its own for each step: later ones do not replace it
            data = [_sample(record, advantage) for record, advantage in shown]
            row[f"{TRAIN}/samples"] = wandb.Table(columns=COLUMNS, data=data)
        self._run.log(row)

    def points(self, points: Sequence[Point]) -> None:
        """Log the accuracies of evaluations."""
        if self._run is None:
            return
        rows: dict[int, dict[str, float]] = defaultdict(dict)
        for point in points:
            rows[point.step] |= {f"{EVAL}/{name}": value for name, value in point.metrics().items()}
        for step, row in rows.items():
            self._run.log(row | {f"{EVAL}/step": step})

    def finish(self, summary: dict[str, Any] | None = None) -> None:
        """Store the summary and close the run; a second call does nothing."""
        if self._run is None:
            return
        if summary is not None:
            self._run.summary.update(summary)
        self._run.finish()
        self._run = None


def spread(trained: Sequence[Trained], number: int) -> list[Trained]:
    """Return the first trajectory of each problem, then the second of each, and so on, ``number`` in all."""
    seen: dict[str, int] = defaultdict(int)
    order = []
    for index, (record, _) in enumerate(trained):
        order.append((seen[record.problem_id], index))
        seen[record.problem_id] += 1
    return [trained[index] for _, index in sorted(order)[:number]]


def _histograms(records: Sequence[TrajectoryRecord], trained: Sequence[Trained]) -> dict[str, Any]:
    """Return histograms of the trajectories of this process."""
    import wandb

    kept = [record for record in records if record.stop_reason != "infrastructure"]
    values = {
        "tokens": [float(record.tokens("policy")) for record in kept],
        "reward": [record.rewards["total"] for record in kept if record.rewards is not None],
        "executions": [float(len(record.executions)) for record in kept],
        "advantage": [advantage for _, advantage in trained if math.isfinite(advantage)],
    }
    return {
        f"{TRAIN}/histogram/{name}": wandb.Histogram(numbers) for name, numbers in values.items() if numbers
    }


def _sample(record: TrajectoryRecord, advantage: float) -> list[Any]:
    return [
        record.step,
        record.phase,
        record.mode,
        record.problem_id,
        record.sample,
        record.problem,
        "".join(segment.text for segment in record.segments),
        record.gold,
        record.answer,
        record.correct,
        None if record.rewards is None else record.rewards["total"],
        advantage,
        record.stop_reason,
        len(record.executions),
    ]
