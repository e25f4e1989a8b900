"""Composes configurations: the defaults of the schema first, then what ``conf`` says otherwise.

A default stands in the dataclass alone, beside the type, range and meaning of its setting: programs are
configured through ``conf``, libraries and tests construct the dataclass, and both must get the same. An
option in ``conf`` is thus a difference. Every key is there to be overridden all the same, since
``conf/NAME.yaml`` begins with ``/schema/NAME``, which is no file but made here. It holds plain values: typed
nodes of OmegaConf would convert what :func:`~src.config.schema.build` is to refuse.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from src.config.paths import CONF


def register(config_name: str, schema: Any) -> None:
    """Let ``conf/CONFIG_NAME.yaml`` begin with the defaults of the dataclass ``schema``."""
    group, _, name = f"schema/{config_name}".rpartition("/")
    ConfigStore.instance().store(group=group, name=name, node=asdict(schema()), package="_global_")


def compose(config_name: str, schema: Any, overrides: list[str]) -> DictConfig:
    """Return ``conf/CONFIG_NAME.yaml`` with ``overrides``, as its program would have it; nothing is checked.

    Args:
        config_name: the primary config, such as ``train``.
        schema: dataclass of the whole configuration, such as :class:`src.config.Config`.
        overrides: as on a command line.

    Raises:
        hydra.errors.HydraException: there is no such option, or no such key.
    """
    register(config_name, schema)
    inside = GlobalHydra.instance().is_initialized()  # of a program that Hydra has started
    with nullcontext() if inside else hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose(config_name, overrides)
