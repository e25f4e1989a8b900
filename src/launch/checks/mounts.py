"""Checks ``sandbox.packages`` and ``sandbox.files``: programs can use them, and see nothing else of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from src import config as c
from src.config import mounts
from src.run.processes import rank


def faults(cfg: c.SandboxConfig, at: str) -> list[str]:
    """Return an error for each module or file that programs cannot have."""
    return mounts.find(cfg, at, refuse=_part_of_run)[1]


def answers(cfg: c.SandboxConfig, problems: Mapping[str, str | None], at: str) -> list[str]:
    """Return an error for each file of problems that programs could read; ``problems``: path by setting."""
    mounted = mounts.find(cfg)[0]
    return [
        f"{at}{setting}={path}: programs would see this file and its answers in {place}, which {at}sandbox."
        "packages or files mounts; list the files that they need"
        for setting, path in problems.items()
        for place in (*mounted.modules.values(), *mounted.files.values())
        if path is not None and Path(path).expanduser().resolve().is_relative_to(place)
    ]


def _part_of_run(path: str) -> str:
    """Return which part of a run ``path`` exposes: records contain answers, which no program may read."""
    here, mounted = Path.cwd(), Path(path)
    if here.is_relative_to(mounted):
        return "the working directory, which contains the runs"
    if HydraConfig.initialized() and rank() == 0:
        run = Path(HydraConfig.get().runtime.output_dir).resolve()
        if run.is_relative_to(mounted) or (mounted.is_relative_to(run) and run != here):
            return f"the folder of this run, {run}"
    return ""
