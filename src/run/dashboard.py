"""Starts Weights & Biases runs, offline if W&B cannot be reached, so that W&B never ends a program."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from rich.markup import escape

from src.run.console import console


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
