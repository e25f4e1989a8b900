"""Composes configurations: the defaults of the schema, then the changes in ``conf``.

Defaults are only in the dataclasses, beside the type, range and meaning of each setting: programs are
configured through ``conf``, libraries and tests construct the dataclass, and both must get the same values.
The options in ``conf`` contain only changes. Still, every key can be overridden, since ``conf/NAME.yaml``
starts with ``/schema/NAME``, a config that is registered here. It holds plain values: typed nodes of
OmegaConf would convert values that :func:`~src.config.schema.build` has to refuse.
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
    """Register the defaults of the dataclass ``schema`` as the first entry of ``conf/CONFIG_NAME.yaml``."""
    group, _, name = f"schema/{config_name}".rpartition("/")
    ConfigStore.instance().store(group=group, name=name, node=asdict(schema()), package="_global_")


def compose(config_name: str, schema: Any, overrides: list[str]) -> DictConfig:
    """Return ``conf/CONFIG_NAME.yaml`` composed with ``overrides``, unchecked.

    Args:
        config_name: the primary config, such as ``train``.
        schema: dataclass of the whole configuration, such as :class:`src.config.Config`.
        overrides: as on a command line.

    Raises:
        hydra.errors.HydraException: an option or a key does not exist.
    """
    register(config_name, schema)
    inside = GlobalHydra.instance().is_initialized()  # in a program that Hydra has started
    with nullcontext() if inside else hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose(config_name, overrides)
