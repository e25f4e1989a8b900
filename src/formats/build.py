"""From the group ``format`` to a format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.utils import instantiate

from src.config.schema import ConfigError, show
from src.formats.base import Format
from src.tools.base import Tool


def build_format(cfg: Mapping[str, Any], tools: Sequence[Tool], tokenizer: Any, style: str) -> Format:
    """Return the format that the group names, made from its ``_target_`` and its other keys.

    Args:
        cfg: the group.
        tools: that can be called.
        tokenizer: of the policy.
        style: ``model.prompt_style``.

    Raises:
        ConfigError: it cannot be made, or not be used with the tools or the policy.
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
