"""A run of Weights & Biases that is never what ends a program: offline where it cannot be online."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from rich.markup import escape

from src.run.console import console


def start_run(mode: str, folder: Path, seconds: float, **settings: Any) -> Any:
    """Return a new W&B run; one that cannot be online is offline, and says so and where it lies.

    Args:
        mode: online or offline.
        folder: in which W&B makes its own, ``wandb``.
        seconds: until an online run that reaches nobody goes offline.
        settings: of ``wandb.init``.
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
        for made in set(folder.glob("wandb/run-*")) - earlier:  # holds nothing
            shutil.rmtree(made, ignore_errors=True)
    run = wandb.init(mode="offline", dir=str(folder), **settings)
    if reason is not None:
        place = run.settings.sync_dir
        said = (
            f"W&B is not reached ({reason}); this run is logged offline, upload it with: wandb sync {place}"
        )
        console.print(f"[bold yellow]{escape(said)}")
    return run
