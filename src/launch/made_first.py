"""Makes the model of a run that is not there yet: ``model.warm_start`` says how."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from src.config.paths import CONF
from src.config.schema import ConfigError
from src.run.processes import world_size

_OPTIONS = CONF / "warm_start"


def make_missing(config: DictConfig) -> None:
    """Run the warm start that writes ``model.path``, if it is not there.

    Each program is a process of its own, so that its memory is free afterwards; an interrupted one goes on
    where it was.

    Args:
        config: settings of a program, as composed.

    Raises:
        ConfigError: there is no such warm start, this run has several processes, or making it failed.
    """
    name, path = (OmegaConf.select(config, f"model.{key}") for key in ("warm_start", "path"))
    if name is None or path is None or (Path(path).expanduser() / "config.json").is_file():
        return
    given = f"model.warm_start={name}"
    if not (_OPTIONS / f"{name}.yaml").is_file():
        known = ", ".join(sorted(file.stem for file in _OPTIONS.glob("*.yaml")))
        raise ConfigError(f"{given}: no such file in conf/warm_start; choose one of {known}, or null")
    warm_start = ["src.warm_start", f"+warm_start={name}", f"output={path}"]
    if world_size() > 1:
        raise ConfigError(
            f"{given}: {path} is not made yet, and this run has several processes; make it first with "
            f"python -m {' '.join(warm_start)}"
        )
    for program in (["src.smollm2"], warm_start):
        code = subprocess.run([sys.executable, "-m", *program], check=False).returncode
        if code:
            raise ConfigError(
                f"{given}: python -m {' '.join(program)} ended with exit code {code}, see above; "
                "the same command goes on from there"
            )
