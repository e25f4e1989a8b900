"""What the policy can call, and how calls look: groups whose options name a class by ``_target_``."""

from __future__ import annotations

from typing import Any


def default_tools() -> dict[str, Any]:
    """Python alone; each tool by a key of its own, under which it is overridden or, by null, left out."""
    return {"python": {"_target_": "src.tools.PythonTool"}}


def default_format() -> dict[str, Any]:
    """Fenced blocks, the paper's."""
    return {"_target_": "src.formats.FenceFormat"}
