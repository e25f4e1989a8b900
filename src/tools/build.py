"""From the group ``tools`` to a toolbox."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from hydra.utils import get_class, instantiate

from src.config.schema import ConfigError, show
from src.sandbox import Sandbox
from src.tools.base import Toolbox


def build_tools(cfg: Mapping[str, Mapping[str, Any] | None], sandbox: Sandbox) -> Toolbox:
    """Return the tools that the group names, each made from its ``_target_`` and its other keys.

    Args:
        cfg: each tool by the key under which it can be overridden; null leaves it out.
        sandbox: handed to a tool whose constructor has a parameter of that name.

    Raises:
        ConfigError: a tool cannot be made.
    """
    tools = []
    for key, one in cfg.items():
        if one is None:
            continue
        target = one.get("_target_")
        try:
            given = (
                {"sandbox": sandbox} if "sandbox" in inspect.signature(get_class(target)).parameters else {}
            )
            tools.append(instantiate(dict(one), **given, _convert_="all"))
        except Exception as error:
            cause = error.__cause__ or error
            raise ConfigError(
                f"tools.{key}._target_={show(target)}: it cannot be made: {type(cause).__name__}: {cause}; "
                "give the dotted path of a class, and its folder in PYTHONPATH"
            ) from error
    try:
        return Toolbox(tools)
    except ValueError as error:
        raise ConfigError(str(error)) from None
