"""Whether what ``sandbox.packages`` and ``sandbox.files`` name can be lent to programs."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from src import config as c
from src.config import lent
from src.run.processes import rank


def faults(cfg: c.SandboxConfig, at: str) -> list[str]:
    """Return why something cannot be lent."""
    return lent.find(cfg, at, refuse=_of_a_run)[1]


def _of_a_run(path: str) -> str:
    """Return what of a run ``path`` is or holds: records have answers in them, which no program may read."""
    here, lent_path = Path.cwd(), Path(path)
    if here.is_relative_to(lent_path):
        return "the working directory, where runs lie"
    if HydraConfig.initialized() and rank() == 0:
        run = Path(HydraConfig.get().runtime.output_dir).resolve()
        if run.is_relative_to(lent_path) or (lent_path.is_relative_to(run) and run != here):
            return f"the folder of this run, {run}"
    return ""
