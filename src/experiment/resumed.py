"""What a training run takes over from the run that it resumes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from src.config import Config
from src.config.command_line import shown
from src.config.schema import ConfigError, show
from src.launch import resumption
from src.run import checkpoints
from src.run.console import console
from src.run.processes import Ranks
from src.run.records import METRICS, RECORDS, STATE, read_metrics
from src.run.token_columns import TOKENS
from src.run.tracking.tensorboard_backend import TENSORBOARD


def take_over(cfg: Config, run_dir: Path, ranks: Ranks) -> Path | None:
    """Return the checkpoint to resume from, after copying the files of its run into ``run_dir``.

    A folder with records but no checkpoint is accepted: that run was killed before its first checkpoint, and
    the new records supersede its own.

    Raises:
        ConfigError: a new run would mix its checkpoints with those of an earlier one, or
            ``evaluate.phases`` includes "before" although the resumed run was not evaluated before training.
    """
    if cfg.trainer.resume is None:
        if ranks.any(bool(checkpoints.complete(run_dir / "checkpoints"))):
            raise ConfigError(
                f"hydra.run.dir={run_dir}: contains checkpoints of an earlier run; resume it with "
                f"trainer.resume={run_dir}, or choose another folder"
            )
        return None
    # the first process decides, since it may delete older checkpoints while the others look
    checkpoint = ranks.broadcast(checkpoints.resolve(Path(cfg.trainer.resume).expanduser()).resolve())
    origin = checkpoint.parent.parent
    if "before" in cfg.evaluate.phases and "before" not in read_state(origin):
        raise ConfigError(
            f"evaluate.phases={show(cfg.evaluate.phases)}: {origin} was not evaluated before training, and "
            "its weights have changed since; resume it with evaluate.phases=[after]"
        )
    step = checkpoints.step_of(checkpoint)
    present = checkpoints.complete(run_dir / "checkpoints")
    if ranks.any(bool(present) and (origin != run_dir or checkpoints.step_of(present[-1]) > step)):
        owner = "another run" if origin != run_dir else f"steps after {step}, which would mix with new ones"
        raise ConfigError(
            f"hydra.run.dir={run_dir}: contains checkpoints of {owner}; resume from the last of them with "
            f"trainer.resume={run_dir}, or choose another folder"
        )
    if ranks.first:
        if origin != run_dir:
            run_dir.mkdir(parents=True, exist_ok=True)
            for name in (RECORDS, METRICS, STATE):
                shutil.copy(origin / name, run_dir / name)
            for name in (TOKENS, TENSORBOARD):
                if (origin / name).is_dir():
                    shutil.copytree(origin / name, run_dir / name, dirs_exist_ok=True)
        console.print(f"resuming {shown(origin)} from step {step} of {cfg.trainer.steps}", markup=False)
        for key, old, new in _differences(cfg, origin):
            console.print(f"resuming with {key}={show(new)}; it was {show(old)}", markup=False)
    ranks.wait()
    return checkpoint


def _differences(cfg: Config, origin: Path) -> list[tuple[str, Any, Any]]:
    try:
        return resumption.differences(cfg, origin)
    except ConfigError as error:
        if not cfg.trainer.resume_force:
            raise
        console.print(f"{error} (ignored: trainer.resume_force=true)", markup=False)
        return []


def earlier_seconds(run_dir: Path, checkpoint: Path | None) -> float:
    """Return the wall seconds that the resumed run had spent when its checkpoint was written."""
    if checkpoint is None:
        return 0.0
    rows = [row for row in read_metrics(run_dir / METRICS) if row["step"] < checkpoints.step_of(checkpoint)]
    return float(rows[-1]["wall_seconds"]) if rows else 0.0


def read_state(run_dir: Path) -> dict[str, Any]:
    """Return what a run saved when it started: its W&B id and the evaluation before training.

    Raises:
        ConfigError: it cannot be read.
    """
    file = run_dir / STATE
    try:
        return dict(json.loads(file.read_text()))
    except ValueError:
        raise ConfigError(
            f"trainer.resume={run_dir}: {file} is damaged, so the evaluation before training is lost; "
            "write {} into it, and resume with evaluate.phases=[after]"
        ) from None
