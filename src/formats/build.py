"""Builds the format from the config group ``format``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.utils import instantiate

from src.config.schema import ConfigError, show
from src.formats.base import Format
from src.tools.base import Tool


def build_format(cfg: Mapping[str, Any], tools: Sequence[Tool], tokenizer: Any, style: str) -> Format:
    """Build the format from the ``_target_`` and the other keys of the group.

    Args:
        cfg: the config group.
        tools: the tools that can be called.
        tokenizer: the policy's tokenizer.
        style: ``model.prompt_style``.

    Raises:
        ConfigError: it cannot be built, or cannot be used with the tools or the policy.
    """
    target = cfg.get("_target_")
    try:
        made: Format = instantiate(dict(cfg), _convert_="all")
        return made.prepare(tools, tokenizer, style)
    except Exception as error:
        cause = error.__cause__ or error
        raise ConfigError(
            f"format._target_={show(target)}: it cannot be used: {type(cause).__name__}: {cause}"
        ) from error
