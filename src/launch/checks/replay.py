"""Checks of ``python -m src.replay``, and the settings that it repeats a run with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from src.config import Config
from src.config.command_line import parsed
from src.config.replay import OF_THE_LOSS, OF_THE_OPTIMIZER, ReplayConfig
from src.config.schema import ConfigError, build, show
from src.launch.checks import trainer
from src.launch.resumption import read_config
from src.run.records import CONFIG, METRICS, RECORDS

_GROUP = "trainer."


def faults(cfg: ReplayConfig, at: str) -> list[str]:
    """Return why the run cannot be replayed."""
    folder = Path(cfg.run)
    if cfg.run.startswith("~"):  # Hydra takes the folder of the output as it stands
        return [f"{at}run={cfg.run}: give the folder without ~, such as {folder.expanduser()}"]
    for name in (RECORDS, METRICS):
        if not (folder / name).is_file():
            return [f"{at}run={cfg.run}: has no {name}; give the folder of a training run"]
    if cfg.rewards is not None and not (Path(cfg.rewards) / RECORDS).is_file():
        return [
            f"{at}rewards={cfg.rewards}: has no {RECORDS}; give the folder that python -m src.regrade "
            f"run={cfg.run} has written"
        ]
    try:
        run = recorded(folder)
    except (OSError, ValueError) as error:
        return [
            f"{at}run={cfg.run}: its {CONFIG} cannot be read ({error}), so its settings are unknown; give "
            "the folder of a training run"
        ]
    if not run.records.tokens:
        return [
            f"{at}run={cfg.run}: it has no token columns (records.tokens=false), so nobody knows its tokens; "
            "resume it with records.tokens=true, and replay the steps since then"
        ]
    if run.records.token_share < 1:
        return [
            f"{at}run={cfg.run}: records.token_share={run.records.token_share:g}, so the tokens of most "
            "trajectories are missing; only steps whose trajectories are all written can be replayed: resume "
            "it with records.token_share=1, and replay the steps since then"
        ]
    return []


def recorded(folder: Path) -> Config:
    """Return the settings of a run.

    Raises:
        OSError, ValueError: they cannot be read by this version.
    """
    run = build(Config, read_config(folder / CONFIG))
    return replace(run, trainer=replace(run.trainer, resume=None))


def other_settings(run: Config, overrides: Sequence[str]) -> tuple[Config, dict[str, tuple[Any, Any]]]:
    """Return the settings of the other objective, and what differs: dotted name -> (of the run, other).

    Args:
        run: settings of the run.
        overrides: of the command line.

    Raises:
        ConfigError: a given value does not matter to a recorded step, or cannot be combined with the run's.
    """
    values = asdict(run.trainer)
    names, wrong = [], []
    for override in parsed(overrides):
        name = override.key_or_group
        if name == _GROUP.strip("."):
            wrong.append(f"{name}={show(override.value())}: the run's settings are kept; give single values")
        if not name.startswith(_GROUP):
            continue
        leaf = name.removeprefix(_GROUP)
        if override.is_delete():
            wrong.append(f"~{name}: the run's settings are kept; give a value instead")
        elif leaf not in OF_THE_LOSS + OF_THE_OPTIMIZER:
            wrong.append(
                f"{name}={show(override.value())}: in the update of a recorded step it cannot be changed; "
                f"choose from {', '.join(OF_THE_LOSS + OF_THE_OPTIMIZER)}"
            )
        else:
            names.append(leaf)
            values[leaf] = override.value()
    if wrong:
        raise ConfigError(*wrong)
    other = build(Config, asdict(run) | {"trainer": values}).trainer
    found = trainer.trainer(other, _GROUP)
    if found:
        raise ConfigError(*found)
    before = asdict(run.trainer)
    changed = {f"{_GROUP}{name}": (before[name], values[name]) for name in names}
    return replace(run, trainer=other), changed
