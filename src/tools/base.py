"""The tool interface, a base class for tools made of one function, and the toolbox of a run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

from jsonschema import Draft202012Validator

from src.sandbox import ExecutionResult, Status

ToolResult = ExecutionResult  # every tool returns status, output, last error line and seconds


class CallError(ValueError):
    """An invalid tool call: unknown tool or invalid arguments. The policy reads the message."""


@dataclass(frozen=True)
class Call:
    """A tool call: the name of the tool and its arguments by name."""

    tool: str
    arguments: Mapping[str, Any]


class Tool(Protocol):
    """A tool that the policy can call.

    Attributes:
        name: name in tool calls; letters, digits and underscores only.
        description: one or two sentences for the prompt.
        parameters: JSON schema of the arguments, an object.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]

    def submit(self, arguments: Mapping[str, Any], *, trajectory: str) -> Future[ToolResult]:
        """Start a call; errors of the call are in its result, and the future does not raise for them.

        Args:
            arguments: already validated against ``parameters``.
            trajectory: name of the calling trajectory.
        """

    def cancel(self, result: Future[ToolResult]) -> None:
        """Cancel a call whose result is no longer needed."""

    def end(self, trajectory: str) -> None:
        """Release the state of ``trajectory``, which makes no further calls."""

    def stats(self) -> dict[str, float]:
        """Return metrics since the start, by name."""

    def close(self) -> None:
        """Release the tool's resources. Idempotent."""


class FunctionTool(ABC):
    """A tool made of one function: subclasses define ``name``, ``description``, ``parameters``, ``call``.

    Calls run in ``threads`` threads of this process, outside of any sandbox: never execute code that the
    policy writes in them.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    threads = 4

    @abstractmethod
    def call(self, **arguments: Any) -> str:
        """Return the text that the policy reads. The policy reads any exception as an error."""

    def submit(self, arguments: Mapping[str, Any], *, trajectory: str) -> Future[ToolResult]:
        """See Tool."""
        return self._pool.submit(self._timed, arguments)

    def _timed(self, arguments: Mapping[str, Any]) -> ToolResult:
        start = perf_counter()
        try:
            status, text, error = Status.OK, str(self.call(**arguments)), None
        except Exception as raised:
            status, text, error = Status.ERROR, "", f"{type(raised).__name__}: {raised}"
        return ToolResult(status, text, error, perf_counter() - start)

    @property
    def _pool(self) -> ThreadPoolExecutor:
        """Created at the first call, so that a subclass need not call ``super().__init__()``."""
        pool = self.__dict__.get("_threads")
        if pool is None:
            pool = self.__dict__["_threads"] = ThreadPoolExecutor(self.threads, f"tool-{self.name}")
        return pool

    def cancel(self, result: Future[ToolResult]) -> None:
        """See Tool. A running call continues, but its result is not used."""
        result.cancel()

    def end(self, trajectory: str) -> None:  # noqa: B027 - a tool without state needs none
        """See Tool."""

    def stats(self) -> dict[str, float]:
        """See Tool. No metrics."""
        return {}

    def close(self) -> None:
        """See Tool."""
        pool = self.__dict__.pop("_threads", None)
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)


class Toolbox:
    """The tools of a run, by name.

    Args:
        tools: in the order in which a prompt names them.

    Raises:
        ValueError: two tools have the same name.
    """

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools = {tool.name: tool for tool in tools}
        if len(self._tools) < len(tools):
            raise ValueError(f"tools: two tools have the same name: {', '.join(tool.name for tool in tools)}")
        self._validators = {tool.name: Draft202012Validator(dict(tool.parameters)) for tool in tools}

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def submit(self, call: Call, *, trajectory: str) -> Future[ToolResult]:
        """Start a call. Raises CallError if the tool does not exist or the arguments are invalid."""
        if call.tool not in self._tools:
            raise CallError(f"there is no tool {call.tool!r}; there is {', '.join(self._tools) or 'none'}")
        faults = [fault.message for fault in self._validators[call.tool].iter_errors(dict(call.arguments))]
        if faults:
            raise CallError(f"{call.tool}: {'; '.join(faults)}")
        return self._tools[call.tool].submit(call.arguments, trajectory=trajectory)

    def cancel(self, tool: str, result: Future[ToolResult]) -> None:
        """Cancel a call of ``tool``; does nothing if it has a result, as invalid calls do."""
        if not result.done():
            self._tools[tool].cancel(result)

    def end(self, trajectory: str) -> None:
        """Release the state of ``trajectory`` in every tool."""
        for tool in self:
            tool.end(trajectory)

    def stats(self) -> dict[str, float]:
        """Return the metrics of all tools since the start, by name."""
        return {name: value for tool in self for name, value in tool.stats().items()}

    def close(self) -> None:
        """Release the resources of all tools. Idempotent."""
        for tool in self:
            tool.close()
