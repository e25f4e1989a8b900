"""The interface of a format: how tool calls and results are written in the policy's text."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, Self

from src.tools.base import Call, CallError, Tool

CALL, RESULT = "call", "result"
MOST_BLANKS = 16  # before what begins a line


class RawCall(NamedTuple):
    """A tool call as written: the tool named by its markup (None: the body names it), and the body."""

    tool: str | None
    body: str


class Span(NamedTuple):
    """A block ``text[start:end]``, markup included; ``kind`` is ``call`` or ``result``."""

    start: int
    end: int
    kind: str


class Piece(NamedTuple):
    """Part of a rendered result; control tokens are encoded as such only in ``control`` pieces."""

    text: str
    control: bool = False


class Scanner(Protocol):
    """Follows one policy segment byte by byte and finds the end of its first call.

    Attributes:
        call: the last call found.
        inside: whether a call is open.
    """

    call: RawCall

    @property
    def inside(self) -> bool:
        """Whether a call is open."""

    def copy(self) -> Self:
        """Return an independent scanner in the same state."""

    def feed(self, data: bytes) -> int | None:
        """Read ``data`` up to the end of a call and return the offset just past it, or None."""


class Format(ABC):
    """A format of tool calls and results. One instance serves one run; call :meth:`prepare` first.

    Attributes:
        tools: the tools that can be called, by name.
        result_opening: the text with which the policy itself opens a result, for
            ``rollout.boundary=stop_string``; None: it cannot, since results begin with control tokens.
        result_opens_a_line: whether ``result_opening`` counts only at the beginning of a line.
        markup: the strings that open and close calls and results, for building a tokenizer.
    """

    result_opening: str | None = None
    result_opens_a_line = False
    markup: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.tools: dict[str, Tool] = {}

    def prepare(self, tools: Sequence[Tool], tokenizer: Any, style: str) -> Self:
        """Set up the format for a run; return self.

        Args:
            tools: the tools that can be called.
            tokenizer: the policy's tokenizer, with its chat template.
            style: ``model.prompt_style``.

        Raises:
            ValueError: the format cannot be used with them.
        """
        self.tools = {tool.name: tool for tool in tools}
        return self

    def instructions(self, mode: str) -> str:
        """Return the prompt's instructions on tools in a mode: ``free``, ``text`` or ``code``."""
        if mode == "text":
            return "Reason in words and formulas only; programs are not run."
        how = " ".join(self.explain(tool) for tool in self.tools.values())
        return f"Where it helps, {how}" if mode == "free" else f"{how[:1].upper()}{how[1:]} {GROUNDED}"

    def template_tools(self, mode: str) -> list[dict[str, Any]] | None:
        """Return the tools for a chat template that describes them itself; None: it does not."""
        return None

    @abstractmethod
    def explain(self, tool: Tool) -> str:
        """Return a sentence, without a capital, that explains how to call ``tool`` and read its result."""

    @abstractmethod
    def scanner(self) -> Scanner:
        """Return a scanner for a new policy segment."""

    @abstractmethod
    def may_close(self, token: bytes) -> bool:
        """Whether a token can contain the last byte of a call. False positives cost only speed."""

    @abstractmethod
    def parse(self, raw: RawCall) -> Call:
        """Parse the call. Raises CallError, whose message the policy reads, if it is invalid."""

    @abstractmethod
    def write(self, call: Call) -> str:
        """Return the call as a policy would write it; :meth:`parse` inverts this."""

    @abstractmethod
    def spans(self, text: str) -> list[Span]:
        """Return the blocks of a policy segment, in order; answers are taken from the text outside."""

    @abstractmethod
    def fabricates(self, text: str) -> bool:
        """Whether the policy itself wrote a non-empty result in a policy segment."""

    @abstractmethod
    def neutralise(self, text: str) -> str:
        """Change ``text`` so that it neither opens nor closes a call or a result (invariant 5)."""

    @abstractmethod
    def render(self, text: str, *, after_newline: bool = False, opened: bool = False) -> list[Piece]:
        """Return the result to append after a call.

        Args:
            text: the tool's message, already neutralised.
            after_newline: the line of the call has already ended.
            opened: the policy has opened the result itself.
        """


GROUNDED = "Base the answer on that output."


def text_parameter(tool: Tool) -> str | None:
    """Return the name of a tool's parameter if it is the only one and a string, or None."""
    properties: Mapping[str, Any] = tool.parameters.get("properties", {})
    if len(properties) == 1:
        ((name, schema),) = properties.items()
        if schema.get("type") == "string":
            return str(name)
    return None


def parse_body(tool: Tool, body: str) -> Call:
    """Parse the body of a call of ``tool``: its single string argument, or a JSON object of arguments.

    Raises:
        CallError: the body is not a JSON object.
    """
    name = text_parameter(tool)
    return Call(tool.name, {name: body} if name else json_object(body, f"the arguments of {tool.name}"))


def explained(tool: Tool, call: str, result: str) -> str:
    """Return the text of :meth:`Format.explain`; ``call`` and ``result`` say where each is written."""
    if tool.name == "python":
        return (
            f"write a Python program {call} that prints what you need: it is run and its output is shown to "
            f"you {result}."
        )
    body = "a text" if text_parameter(tool) else "a JSON object of its arguments"
    return (
        f"to call {tool.name}, write {body} {call}, and its result is shown to you {result}. "
        f"{tool.description}"
    )


def write_body(tool: Tool, arguments: Mapping[str, Any]) -> str:
    """Return the body of a call; inverse of :func:`parse_body`."""
    name = text_parameter(tool)
    return str(arguments[name]) if name else json.dumps(dict(arguments), ensure_ascii=False)


def json_object(text: str, what: str) -> dict[str, Any]:
    """Parse ``text`` as a JSON object. Raises CallError; ``what`` names the content in its message."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CallError(f"{what} are no valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise CallError(f"{what} are no JSON object")
    return found


class ResultScanner:
    """Finds where the policy opens a result after a complete call: ``rollout.boundary=stop_string``.

    Args:
        calls: scanner of the format.
        opening: the bytes that open a result.
        at_line_start: whether they count only at the beginning of a line, or after its indentation.
    """

    def __init__(self, calls: Scanner, opening: bytes, *, at_line_start: bool) -> None:
        self._calls, self._opening, self._at_line_start = calls, opening, at_line_start
        self._seen = bytearray()  # bytes of the current line after its indentation, or the last bytes
        self._blanks = 0  # of that indentation
        self._complete = False
        self.call = RawCall(None, "")  # the last complete call

    @property
    def inside(self) -> bool:
        """See Scanner."""
        return self._calls.inside

    def copy(self) -> ResultScanner:
        """See Scanner."""
        other = ResultScanner(self._calls.copy(), self._opening, at_line_start=self._at_line_start)
        other._seen, other._blanks = self._seen.copy(), self._blanks
        other._complete, other.call = self._complete, self.call
        return other

    def feed(self, data: bytes) -> int | None:
        """See Scanner; returns the offset just past the opening of a result."""
        for offset in range(len(data)):
            byte = data[offset : offset + 1]
            if self._calls.feed(byte) is not None:
                self._complete, self.call = True, self._calls.call
            if self._at_line_start and byte == b"\n":
                self._seen.clear()
                self._blanks = 0
            elif self._at_line_start and not self._seen and byte in b" \t" and self._blanks < MOST_BLANKS:
                self._blanks += 1
            elif self._at_line_start and len(self._seen) <= len(self._opening):
                self._seen += byte
            elif not self._at_line_start:
                self._seen = (self._seen + byte)[-len(self._opening) :]
            if self._complete and not self._calls.inside and self._seen == self._opening and byte != b"\n":
                self._seen.clear()
                return offset + 1
        return None
