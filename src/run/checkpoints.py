"""Checkpoints that are either complete or refused.

A checkpoint is written to a temporary folder and renamed once every file is on the disk. Its
``complete.json`` lists the files with their sizes: without ``optimizer.pt``, TRL would silently resume with a
wrong learning rate.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from src.run.disk import sync

MARK = "complete.json"
NEEDED = ("scheduler.pt", "trainer_state.json", "curriculum.json")
# single process or DDP; FSDP, full or sharded; DeepSpeed
OPTIMIZER = ("optimizer.pt", "optimizer.bin", "optimizer_*", "global_step*")
PREFIX = "step-"


class CheckpointError(ValueError):
    """A checkpoint that cannot be resumed from; the message names cause and remedy."""


def publish(partial: Path, folder: Path, step: int, keep: int) -> Path:
    """Mark ``partial`` complete, move it to ``folder/step-N`` and delete all but the last ``keep``.

    Raises:
        CheckpointError: a file that a resumed run needs is missing.
    """
    missing = [name for name in NEEDED if not (partial / name).is_file()]
    if not any(any(partial.glob(pattern)) for pattern in OPTIMIZER):
        missing.insert(0, "optimizer.pt")
    if missing:
        raise CheckpointError(f"{partial} lacks {', '.join(missing)}; the checkpoint was discarded")
    files = {p.relative_to(partial).as_posix(): p.stat().st_size for p in partial.rglob("*") if p.is_file()}
    (partial / MARK).write_text(json.dumps({"step": step, "files": files}, indent=2) + "\n")
    for path in [*(partial / name for name in [*files, MARK]), partial]:
        sync(path)
    final = folder / f"{PREFIX}{step}"
    if final.exists():
        shutil.rmtree(final)
    os.replace(partial, final)
    sync(folder)
    for old in complete(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def complete(folder: Path) -> list[Path]:
    """Return the complete checkpoints in ``folder`` by ascending step, without damaged ones."""
    found = [path for path in folder.glob(f"{PREFIX}*") if (path / MARK).is_file() and not damage(path)]
    return sorted(found, key=lambda path: int(path.name.removeprefix(PREFIX)))


def damage(path: Path) -> str | None:
    """Return which file of a complete checkpoint is missing or damaged, None if none is."""
    try:
        files = _mark(path)["files"]
    except CheckpointError:
        return MARK
    for name, size in files.items():
        if not (path / name).is_file() or (path / name).stat().st_size != size:
            return str(name)
    return None


def resolve(path: Path) -> Path:
    """Return the checkpoint at ``path``, or the last complete checkpoint of the run at ``path``.

    Raises:
        CheckpointError: there is none, or it is incomplete.
    """
    if (path / "checkpoints").is_dir():
        found = complete(path / "checkpoints")
        if not found:
            raise CheckpointError(
                f"trainer.resume={path}: the run has no complete checkpoint; start it again"
            )
        return resolve(found[-1])
    if not path.is_dir():
        raise CheckpointError(
            f"trainer.resume={path}: this folder does not exist; give a run's folder or a checkpoint in it"
        )
    if not (path / MARK).is_file():
        raise CheckpointError(
            f"trainer.resume={path}: incomplete, it has no {MARK} (its writer was killed, or it is not a "
            "checkpoint); use an earlier one"
        )
    _mark(path)
    if name := damage(path):
        raise CheckpointError(
            f"trainer.resume={path}: {name} is missing or damaged; use an earlier checkpoint"
        )
    return path


def step_of(path: Path) -> int:
    """Return the rollout step of a complete checkpoint."""
    return int(_mark(path)["step"])


def _mark(path: Path) -> dict[str, Any]:
    try:
        mark = json.loads((path / MARK).read_text())
        return {"step": int(mark["step"]), "files": dict(mark["files"])}
    except (ValueError, KeyError, TypeError):
        raise CheckpointError(
            f"trainer.resume={path}: {MARK} is damaged; use an earlier checkpoint"
        ) from None
