"""Logs metrics and samples to Weights & Biases; offline, neither an account nor a network is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from src.config import Config
from src.run.dashboard import start_run
from src.run.records import TrajectoryRecord

COLUMNS = ["step", "problem", "trajectory", "gold", "answer", "correct", "stop_reason", "executions"]


class Tracker:
    """Logs a run; every method is a no-op when ``tracking.mode`` is ``none``.

    Args:
        cfg: the whole configuration, stored with the run.
        run_dir: folder for the W&B files.
        run_id: W&B id of the resumed run.
        write: True on rank 0 only.
    """

    def __init__(self, cfg: Config, run_dir: Path, run_id: str | None = None, *, write: bool = True) -> None:
        self._samples = cfg.tracking.samples
        self._run: Any = None
        if cfg.tracking.mode == "none" or not write:
            return
        self._run = start_run(
            cfg.tracking.mode,
            run_dir,
            cfg.tracking.init_timeout,
            project=cfg.tracking.project,
            entity=cfg.tracking.entity,
            name=cfg.tracking.name or run_dir.name,
            tags=cfg.tracking.tags,
            config=asdict(cfg),
            id=run_id,
            resume="allow" if run_id else None,
        )
        import wandb

        # Logged incrementally, so that a killed run keeps its samples.
        self._table = wandb.Table(columns=COLUMNS, log_mode="INCREMENTAL")

    @property
    def run_id(self) -> str | None:
        """W&B id of this run."""
        return self._run.id if self._run is not None else None

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Log metrics of a rollout step."""
        if self._run is not None:
            self._run.log(metrics, step=step)

    def samples(self, records: Sequence[TrajectoryRecord], step: int) -> None:
        """Add the first ``tracking.samples`` trajectories of a step to the table of samples."""
        if self._run is None or not self._samples:
            return
        for record in records[: self._samples]:
            self._table.add_data(
                step,
                record.problem,
                "".join(segment.text for segment in record.segments),
                record.gold,
                record.answer,
                record.correct,
                record.stop_reason,
                len(record.executions),
            )
        self._run.log({"samples": self._table}, step=step)

    def finish(self, summary: dict[str, Any] | None = None) -> None:
        """Store the summary and close the run; a second call does nothing."""
        if self._run is None:
            return
        if summary is not None:
            self._run.summary.update(summary)
        self._run.finish()
        self._run = None
