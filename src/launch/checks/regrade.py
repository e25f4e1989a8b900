"""Checks that a run's trajectories can be graded again, and with which reward settings that is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from src.config.command_line import parsed
from src.config.regrade import RegradeConfig
from src.config.schema import ConfigError, build
from src.config.training import RewardConfig
from src.launch.resumption import read_config
from src.run.records import CONFIG, RECORDS

_GROUP = "reward"


def faults(cfg: RegradeConfig, at: str) -> list[str]:
    """Return why the run cannot be graded again."""
    if cfg.run.startswith("~"):  # Hydra takes the folder of the output as it stands
        return [f"{at}run={cfg.run}: give the folder without ~, such as {Path(cfg.run).expanduser()}"]
    folder = Path(cfg.run)
    if not (folder / RECORDS).is_file():
        return [f"{at}run={cfg.run}: has no {RECORDS}; give the folder of a training run or an evaluation"]
    try:
        recorded(folder)
    except (OSError, ValueError) as error:
        return [
            f"{at}run={cfg.run}: its {CONFIG} cannot be read ({error}), so its settings are unknown; give "
            "the folder of a run or an evaluation"
        ]
    return []


def recorded(folder: Path) -> tuple[dict[str, Any], RewardConfig]:
    """Return the settings of a run, and its reward settings, which have defaults where it is older than them.

    Raises:
        OSError, ValueError: they cannot be read by this version.
    """
    config = read_config(folder / CONFIG)
    for name in (_GROUP, "rollout", "format"):
        if name not in config:
            raise ValueError(f"it has no {name}")
    return config, build(RewardConfig, config[_GROUP])


def reward_settings(cfg: RegradeConfig, overrides: Sequence[str]) -> RewardConfig:
    """Return the reward settings to grade with: the run's but for those that the command line gives.

    Args:
        cfg: as composed; with an option of the group (``reward=NAME``) its settings are taken as they are.
        overrides: of the command line.

    Raises:
        ConfigError: a given value cannot be combined with the run's.
    """
    given = parsed(overrides)
    if any(override.key_or_group == _GROUP for override in given):
        return cfg.reward
    found = OmegaConf.create({_GROUP: asdict(recorded(Path(cfg.run))[1])})
    for override in given:
        name = override.key_or_group
        if not name.startswith(f"{_GROUP}."):
            continue
        if override.is_delete():
            raise ConfigError(f"~{name}: the run's settings are kept; give a value instead")
        OmegaConf.update(found, name, override.value(), merge=True, force_add=True)
    values: Any = OmegaConf.to_container(found[_GROUP])
    return build(RewardConfig, values)
