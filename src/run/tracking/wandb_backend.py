"""Weights & Biases: starts runs, offline if it cannot be reached, and logs to them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape

from src.run.console import console
from src.run.records import TrajectoryRecord
from src.run.tracking.artifacts import Artifact
from src.run.tracking.backend import EVAL, TRAIN, Card, Entry

COLUMNS = [
    *("step", "phase", "mode", "problem_id", "sample", "problem", "trajectory", "gold", "answer"),
    *("correct", "reward", "advantage", "stop_reason", "executions"),
]
ID = "wandb_id"
_SUMMARISED = ("reward", "accuracy")  # whose mean and best are in the summary, beside the last value


def start_run(mode: str, folder: Path, seconds: float, **settings: Any) -> Any:
    """Return a new W&B run; if it cannot be online, it is offline, with a warning that names its folder.

    Args:
        mode: online or offline.
        folder: in which W&B creates its folder ``wandb``.
        seconds: time limit for reaching W&B with mode online.
        settings: arguments of ``wandb.init``.
    """
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    reason = None
    if mode == "online":
        earlier = set(folder.glob("wandb/run-*"))
        try:
            return wandb.init(
                mode=mode, dir=str(folder), settings=wandb.Settings(init_timeout=seconds), **settings
            )
        except wandb.errors.Error as error:  # no network, no answer, no key, a wrong key
            reason = str(error).partition("\n")[0]
        for made in set(folder.glob("wandb/run-*")) - earlier:  # empty
            shutil.rmtree(made, ignore_errors=True)
    run = wandb.init(mode="offline", dir=str(folder), **settings)
    if reason is not None:
        place = run.settings.sync_dir
        warning = (
            f"W&B cannot be reached ({reason}); this run is logged offline, upload it with: "
            f"wandb sync {place}"
        )
        console.print(f"[bold yellow]{escape(warning)}")
    return run


class WandbBackend:
    """Logs to a W&B run, new or resumed; see Backend.

    ``train/...`` is drawn over ``train/step`` and ``eval/...`` over ``eval/step``.
    """

    def __init__(self, card: Card) -> None:
        tracking, self._id = card.tracking, card.earlier.get(ID)
        self._run = start_run(
            tracking.mode,
            card.folder,
            tracking.init_timeout,
            project=tracking.project,
            entity=tracking.entity,
            name=card.name,
            group=card.group,
            job_type=card.job_type,
            tags=tracking.tags,
            config={**card.config, "overrides": list(card.overrides), "folder": str(card.folder)},
            id=self._id,
            resume="allow" if self._id else None,
        )
        for prefix in (TRAIN, EVAL):
            self._run.define_metric(f"{prefix}/step", hidden=True)
            self._run.define_metric(f"{prefix}/*", step_metric=f"{prefix}/step")
        for name in _SUMMARISED if card.job_type == TRAIN else ():
            self._run.define_metric(f"{TRAIN}/{name}", step_metric=f"{TRAIN}/step", summary="last,mean,max")

    @property
    def identity(self) -> dict[str, Any]:
        """See Backend."""
        return {ID: self._run.id}

    def log(self, entry: Entry) -> None:
        """See Backend."""
        import wandb

        at = entry.axis
        row: dict[str, Any] = {f"{at}/{name}": value for name, value in entry.scalars.items()}
        row |= {f"{at}/histogram/{name}": wandb.Histogram(x) for name, x in entry.histograms.items()}
        for name, samples in entry.samples.items():
            # a table of its own for each step: later ones do not replace it
            data = [_sample(record, advantage) for record, advantage in samples]
            row[f"{at}/{name}"] = wandb.Table(columns=COLUMNS, data=data)
        self._run.log(row | {f"{at}/step": entry.step})

    def finish(self, summary: Mapping[str, Any], artifacts: Sequence[Artifact]) -> None:
        """See Backend."""
        try:
            self._run.summary.update(summary)
            for one in artifacts:
                log_artifact(self._run, one)
        finally:
            self._run.finish()


def log_artifact(run: Any, given: Artifact) -> None:
    """Log files to a W&B run; offline, W&B keeps a copy of those that may change for ``wandb sync``."""
    import wandb

    made = wandb.Artifact(f"{given.name}-{run.id}", type=given.kind)
    for name, path in given.files.items():
        made.add_file(str(path), name=name, policy="immutable" if given.fixed else "mutable")
    run.log_artifact(made)


def _sample(record: TrajectoryRecord, advantage: float | None) -> list[Any]:
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
