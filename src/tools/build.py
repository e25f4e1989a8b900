"""Builds the toolbox from the config group ``tools``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from hydra.utils import get_class, instantiate

from src.config.schema import ConfigError, show
from src.sandbox import Sandbox
from src.tools.base import Toolbox


def build_tools(cfg: Mapping[str, Mapping[str, Any] | None], sandbox: Sandbox | None) -> Toolbox:
    """Build each tool from its ``_target_`` and its other keys.

    Args:
        cfg: the tools by key; null disables a tool.
        sandbox: passed to tools whose constructor has a parameter ``sandbox``; None: they are only described.

    Raises:
        ConfigError: a tool cannot be built.
    """
    tools = []
    for key, options in cfg.items():
        if options is None:
            continue
        target = options.get("_target_")
        try:
            given = (
                {"sandbox": sandbox} if "sandbox" in inspect.signature(get_class(target)).parameters else {}
            )
            tools.append(instantiate(dict(options), **given, _convert_="all"))
        except Exception as error:
            cause = error.__cause__ or error
            raise ConfigError(
                f"tools.{key}._target_={show(target)}: it cannot be built: {type(cause).__name__}: {cause}; "
                "give the dotted path of a class, and add its folder to PYTHONPATH"
            ) from error
    try:
        return Toolbox(tools)
    except ValueError as error:
        raise ConfigError(str(error)) from None
