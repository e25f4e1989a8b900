"""Compositions of ``conf`` for tests, to be changed, built and refused."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from src.config import Config, EvaluationConfig
from src.config.composition import compose
from src.config.paths import ROOT
from src.config.schema import ConfigError, build
from src.launch.checks import load

CONF = ROOT / "conf"


SCHEMAS = {"train": Config, "evaluate": EvaluationConfig}


@cache
def composed(entry: str, *overrides: str) -> DictConfig:
    """Compose ``conf/ENTRY.yaml``; nothing is checked."""
    return compose(entry, SCHEMAS[entry], list(overrides))


def values(*overrides: str) -> dict[str, Any]:
    """Return the composition of a training, which the caller may change."""
    return OmegaConf.to_container(composed("train", *overrides))


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the default configuration of a training with ``value`` at ``path``."""
    result = values()
    *groups, leaf = path.split(".")
    node = result
    for group in groups:
        node = node.setdefault(group, {})
    node[leaf] = value
    return result


def refusal(config: dict[str, Any]) -> str:
    """Return what the check says against the configuration of a training."""
    with pytest.raises(ConfigError) as caught:
        load(Config, config)
    return str(caught.value)


def evaluation(*overrides: str) -> EvaluationConfig:
    """Return the configuration of an evaluation, built but not checked."""
    return build(EvaluationConfig, composed("evaluate", *overrides))
