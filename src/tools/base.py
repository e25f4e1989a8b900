"""The protocol of a tool, a base class for tools that are one function, and the tools of a run together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

from jsonschema import Draft202012Validator

from src.sandbox import ExecutionResult, Status

ToolResult = ExecutionResult  # status, output, last error line and seconds, of every tool


class CallError(ValueError):
    """A call that cannot be made: no such tool, no valid arguments. The policy reads the message."""


@dataclass(frozen=True)
class Call:
    """What the policy asks for: the name of a tool and its arguments by name."""

    tool: str
    arguments: Mapping[str, Any]


class Tool(Protocol):
    """What the policy can call.

    Attributes:
        name: by which the policy calls it; a word of letters, digits and underscores.
        description: for the prompt, one or two sentences.
        parameters: JSON schema of its arguments, an object.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]

    def submit(self, arguments: Mapping[str, Any], *, trajectory: str) -> Future[ToolResult]:
        """Begin a call; the future never raises for what the policy asked for.

        Args:
            arguments: as ``parameters`` wants them; that is checked before.
            trajectory: whose call it is.
        """

    def cancel(self, result: Future[ToolResult]) -> None:
        """The result is not wanted any more."""

    def end(self, trajectory: str) -> None:
        """Forget what calls of ``trajectory`` left behind; it will make no other."""

    def stats(self) -> dict[str, float]:
        """Numbers since the start, by the name of the metric."""

    def close(self) -> None:
        """Release what the tool holds. Idempotent."""


class FunctionTool(ABC):
    """A tool that is one function: subclasses have ``name``, ``description``, ``parameters`` and ``call``.

    Calls run in ``threads`` threads of this process, outside of any sandbox: what the policy writes must not
    be executed there.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    threads = 4

    @abstractmethod
    def call(self, **arguments: Any) -> str:
        """Return what the policy reads. Whatever it raises, the policy reads as an error."""

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
        """Made at the first call, so that a subclass needs no ``super().__init__()``."""
        pool = self.__dict__.get("_threads")
        if pool is None:
            pool = self.__dict__["_threads"] = ThreadPoolExecutor(self.threads, f"tool-{self.name}")
        return pool

    def cancel(self, result: Future[ToolResult]) -> None:
        """See Tool. A call that runs goes on; nobody reads its result."""
        result.cancel()

    def end(self, trajectory: str) -> None:  # noqa: B027 - nothing to forget is fine
        """See Tool."""

    def stats(self) -> dict[str, float]:
        """See Tool. There are none."""
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
        ValueError: two have the same name.
    """

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools = {tool.name: tool for tool in tools}
        if len(self._tools) < len(tools):
            raise ValueError(f"tools: two have the same name: {', '.join(tool.name for tool in tools)}")
        self._validators = {tool.name: Draft202012Validator(dict(tool.parameters)) for tool in tools}

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def submit(self, call: Call, *, trajectory: str) -> Future[ToolResult]:
        """Begin a call. Raises CallError where there is no such tool, or its arguments are not valid."""
        if call.tool not in self._tools:
            raise CallError(f"there is no tool {call.tool!r}; there is {', '.join(self._tools) or 'none'}")
        faults = [fault.message for fault in self._validators[call.tool].iter_errors(dict(call.arguments))]
        if faults:
            raise CallError(f"{call.tool}: {'; '.join(faults)}")
        return self._tools[call.tool].submit(call.arguments, trajectory=trajectory)

    def cancel(self, tool: str, result: Future[ToolResult]) -> None:
        """The result of a call of ``tool`` is not wanted any more; a call that could not be made has one."""
        if not result.done():
            self._tools[tool].cancel(result)

    def end(self, trajectory: str) -> None:
        """Every tool forgets what calls of ``trajectory`` left behind."""
        for tool in self:
            tool.end(trajectory)

    def stats(self) -> dict[str, float]:
        """Numbers of every tool since the start, by the name of the metric."""
        return {name: value for tool in self for name, value in tool.stats().items()}

    def close(self) -> None:
        """Release what the tools hold. Idempotent."""
        for tool in self:
            tool.close()
