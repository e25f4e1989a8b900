"""What the policy can call, and how calls look: groups whose options name a class by ``_target_``."""

from __future__ import annotations

from typing import Any

from src.config.schema import option


def tools_option() -> Any:
    """The field of a configuration that has tools."""
    return option(
        {"python": {"_target_": "src.tools.PythonTool"}},
        "what the policy can call: each tool by a key of its own, with the path of its class in _target_ "
        "and its settings beside; null leaves one out",
    )


def format_option(target: str = "auto") -> Any:
    """The field of a configuration that has a format; ``target`` is what is used by default."""
    return option(
        {"_target_": target},
        "how a call and its result look in text: the dotted path of a class in _target_, its settings "
        "beside; auto: as the policy was trained, else fence",
    )
