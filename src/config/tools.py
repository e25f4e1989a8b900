"""Tools and formats: groups whose options name a class by ``_target_``."""

from __future__ import annotations

from typing import Any

from src.config.schema import option


def tools_option() -> Any:
    """The dataclass field for tools."""
    return option(
        {"python": {"_target_": "src.tools.PythonTool"}},
        "the tools that the policy can call, each under its own key, with its class in _target_ and its "
        "other arguments as further keys; null removes a tool",
    )


def format_option(target: str = "auto") -> Any:
    """The dataclass field for the format; ``target`` is its default."""
    return option(
        {"_target_": target},
        "the syntax of a call and its result: a class in _target_, its other arguments as further keys; "
        "auto: the format that the policy was trained with, else fence",
    )
