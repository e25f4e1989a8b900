"""Makes the model of a run that is not there yet: the output of an option of conf/warm_start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from src.config.paths import CONF, ROOT
from src.config.schema import ConfigError
from src.run.processes import world_size

_OPTIONS = CONF / "warm_start"
_SMOLLM2 = {"override /model": "smollm2_135m"}


def warm_start_of(path: str) -> Path | None:
    """Return the option of conf/warm_start whose output is ``path``, if there is one."""
    for option in sorted(_OPTIONS.glob("*.yaml")):
        output = str(OmegaConf.load(option).output)
        if os.path.normpath(path) in (os.path.normpath(output), str(ROOT / output)):
            return option
    return None


def make_missing(config: DictConfig) -> None:
    """Run the warm start whose output is ``model.path``, if it is not there.

    Each program is a process of its own, so that its memory is free afterwards; an interrupted one goes on
    where it was.

    Args:
        config: settings of a program, as composed.

    Raises:
        ConfigError: this is an estimate, this run has several processes, or making it failed.
    """
    path = OmegaConf.select(config, "model.path")
    if path is None or (Path(path).expanduser() / "config.json").is_file():
        return
    option = warm_start_of(path)
    if option is None:
        return
    given = f"model.path={path}"
    warm_start = ["src.warm_start", f"+warm_start={option.stem}", f"output={path}"]
    if world_size() > 1 or OmegaConf.select(config, "estimate"):
        raise ConfigError(
            f"{given}: this model is not made yet, and an estimate or a run of several processes does not "
            f"make it; make it first with python -m {' '.join(warm_start)}"
        )
    needs_smollm2 = _SMOLLM2 in OmegaConf.load(option).defaults
    for program in ([["src.smollm2"]] if needs_smollm2 else []) + [warm_start]:
        code = subprocess.run([sys.executable, "-m", *program], check=False).returncode
        if code:
            raise ConfigError(
                f"{given}: python -m {' '.join(program)} ended with exit code {code}, see above; "
                "the same command goes on from there"
            )
