"""The protocol of a format: how a call of a tool and its result look in the policy's text."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, Self

from src.tools.base import Call, CallError, Tool

CALL, RESULT = "call", "result"


class RawCall(NamedTuple):
    """A call as it stands in the text: whose it is by its markup (None: the body says), and its body."""

    tool: str | None
    body: str


class Span(NamedTuple):
    """A block of a text, ``text[start:end]``, markup included, of kind ``call`` or ``result``."""

    start: int
    end: int
    kind: str


class Piece(NamedTuple):
    """Text of a rendered result; in ``control`` pieces control tokens are meant, in others they are text."""

    text: str
    control: bool = False


class Scanner(Protocol):
    """Follows one policy segment byte by byte and finds the end of its first call.

    Attributes:
        call: the last call that was found.
        inside: whether a call is open.
    """

    call: RawCall

    @property
    def inside(self) -> bool:
        """Whether a call is open."""

    def copy(self) -> Self:
        """Return an independent scanner in the same state."""

    def feed(self, data: bytes) -> int | None:
        """Read ``data``; return the offset just past the end of a call, and stop there, or None."""


class Format(ABC):
    """How calls and results look. One instance serves one run; :meth:`prepare` comes first.

    Attributes:
        tools: that can be called, by name.
        result_opening: with which a policy would itself open a result, for ``rollout.boundary=stop_string``;
            None: it cannot, since results begin with control tokens.
        result_opens_a_line: whether that counts at the beginning of a line only.
        markup: what opens and closes calls and results, for a tokenizer that is made for the format.
    """

    result_opening: str | None = None
    result_opens_a_line = False
    markup: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.tools: dict[str, Tool] = {}

    def prepare(self, tools: Sequence[Tool], tokenizer: Any, style: str) -> Self:
        """Take in what a run has; return self.

        Args:
            tools: that can be called.
            tokenizer: of the policy, with its chat template.
            style: ``model.prompt_style``.

        Raises:
            ValueError: the format cannot be used with them.
        """
        self.tools = {tool.name: tool for tool in tools}
        return self

    def instructions(self, mode: str) -> str:
        """Return what a prompt says of the tools in a mode: ``free``, ``text`` or ``code``."""
        if mode == "text":
            return "Reason in words and formulas only; programs are not run."
        how = " ".join(self.explain(tool) for tool in self.tools.values())
        return f"Where it helps, {how}" if mode == "free" else f"{how[:1].upper()}{how[1:]} {GROUNDED}"

    def template_tools(self, mode: str) -> list[dict[str, Any]] | None:
        """Return the tools for the chat template, which then describes them itself; None: it does not."""
        return None

    @abstractmethod
    def explain(self, tool: Tool) -> str:
        """Return a sentence, without a capital, that says how to call ``tool`` and where its result is."""

    @abstractmethod
    def scanner(self) -> Scanner:
        """Return a scanner for a new policy segment."""

    @abstractmethod
    def may_close(self, token: bytes) -> bool:
        """Whether a token of these bytes can hold the last byte of a call. Too often is slow, not wrong."""

    @abstractmethod
    def parse(self, raw: RawCall) -> Call:
        """Return the call. Raises CallError with what the policy is told, where it is none."""

    @abstractmethod
    def write(self, call: Call) -> str:
        """Return the call as a policy would write it; :meth:`parse` of it is the call again."""

    @abstractmethod
    def spans(self, text: str) -> list[Span]:
        """Return the blocks of a policy segment, in order; what lies outside of them can be an answer."""

    @abstractmethod
    def fabricates(self, text: str) -> bool:
        """Whether a policy segment holds a result, which the policy made up; an empty one does not count."""

    @abstractmethod
    def neutralise(self, text: str) -> str:
        """Return ``text`` so changed that it neither opens nor closes a call or a result (invariant 5)."""

    @abstractmethod
    def render(self, text: str, *, after_newline: bool = False, opened: bool = False) -> list[Piece]:
        """Return a result as it follows a call.

        Args:
            text: what the tool says, neutralised already.
            after_newline: the call's line is ended.
            opened: the policy has opened the result itself.
        """


GROUNDED = "Base the answer on that output."


def text_parameter(tool: Tool) -> str | None:
    """Return the name of a tool's only parameter, if it has one only and that is a text."""
    properties: Mapping[str, Any] = tool.parameters.get("properties", {})
    if len(properties) == 1:
        ((name, schema),) = properties.items()
        if schema.get("type") == "string":
            return str(name)
    return None


def parse_body(tool: Tool, body: str) -> Call:
    """Return the call whose markup names ``tool``: its only text as it stands, else a JSON object.

    Raises:
        CallError: the body is no JSON object.
    """
    name = text_parameter(tool)
    return Call(tool.name, {name: body} if name else json_object(body, f"the arguments of {tool.name}"))


def explained(tool: Tool, call: str, result: str) -> str:
    """Return what :meth:`Format.explain` must, from where the body of a call and the result stand."""
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
    """Return what :func:`parse_body` reads."""
    name = text_parameter(tool)
    return str(arguments[name]) if name else json.dumps(dict(arguments), ensure_ascii=False)


def json_object(text: str, what: str) -> dict[str, Any]:
    """Return ``text`` as a JSON object. Raises CallError, which names ``what`` it should have been."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CallError(f"{what} are no valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise CallError(f"{what} are no JSON object")
    return found


class ResultScanner:
    """Finds where the policy opens a result behind a complete call: ``rollout.boundary=stop_string``.

    Args:
        calls: scanner of the format.
        opening: what a result begins with.
        at_line_start: whether it counts there only.
    """

    def __init__(self, calls: Scanner, opening: bytes, *, at_line_start: bool) -> None:
        self._calls, self._opening, self._at_line_start = calls, opening, at_line_start
        self._seen = bytearray()  # of the line, or the last bytes
        self._complete = False
        self.call = RawCall(None, "")  # the last complete one

    @property
    def inside(self) -> bool:
        """See Scanner."""
        return self._calls.inside

    def copy(self) -> ResultScanner:
        """See Scanner."""
        other = ResultScanner(self._calls.copy(), self._opening, at_line_start=self._at_line_start)
        other._seen, other._complete, other.call = self._seen.copy(), self._complete, self.call
        return other

    def feed(self, data: bytes) -> int | None:
        """See Scanner; the boundary lies after the opening."""
        for offset in range(len(data)):
            byte = data[offset : offset + 1]
            if self._calls.feed(byte) is not None:
                self._complete, self.call = True, self._calls.call
            if self._at_line_start and byte == b"\n":
                self._seen.clear()
            elif self._at_line_start and len(self._seen) <= len(self._opening):
                self._seen += byte
            elif not self._at_line_start:
                self._seen = (self._seen + byte)[-len(self._opening) :]
            if self._complete and not self._calls.inside and self._seen == self._opening and byte != b"\n":
                self._seen.clear()
                return offset + 1
        return None
