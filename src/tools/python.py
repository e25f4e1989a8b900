"""The sandbox as a tool: runs a program and returns what it prints."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from src.sandbox import ExecutionResult, Sandbox


class PythonTool:
    """See src.tools.base.Tool.

    Args:
        sandbox: runs the programs; its owner closes it. None: the tool is only described, not called.
    """

    name = "python"
    description = "Runs a Python program and returns what it prints, or the last line of its exception."
    parameters: Mapping[str, Any] = {
        "type": "object",
        "properties": {"code": {"type": "string", "description": "the program"}},
        "required": ["code"],
        "additionalProperties": False,
    }

    def __init__(self, sandbox: Sandbox | None) -> None:
        self._given = sandbox

    @property
    def _sandbox(self) -> Sandbox:
        assert self._given is not None
        return self._given

    def submit(self, arguments: Mapping[str, Any], *, trajectory: str) -> Future[ExecutionResult]:
        """See Tool."""
        return self._sandbox.submit(arguments["code"], trajectory=trajectory)

    def cancel(self, result: Future[ExecutionResult]) -> None:
        """See Tool."""
        self._sandbox.cancel(result)

    def end(self, trajectory: str) -> None:
        """See Tool."""
        self._sandbox.end(trajectory)

    def stats(self) -> dict[str, float]:
        """See Tool: the metrics of the sandbox, as ``sandbox/...``."""
        return {f"sandbox/{name}": value for name, value in self._sandbox.stats().items()}

    def close(self) -> None:
        """See Tool. The sandbox stays open."""
