"""Fenced blocks exactly as the paper's released code finds them, for comparison with it.

A program is what stands between the first ```` ```python ````, in lower case, anywhere in the text, and the
next three backticks, wherever these are: after prose, within a line, within a string of the program. If
that first block is blank, the segment has no call, whatever follows it. Where sampling stops is no matter
of the format: ``rollout.boundary=post_hoc`` samples on, as the released code does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from src.formats.base import CALL, RESULT, Call, RawCall, Span, Tool, write_body
from src.formats.fence import FenceFormat
from src.formats.fence_grammar import OUTPUT

_FENCE = "```"
_OUTPUT = re.compile(rf"{_FENCE}{OUTPUT}(.*?)(?:{_FENCE}|\Z)", re.DOTALL)


class ReleasedFenceFormat(FenceFormat):
    """See src.formats.base.Format. Tools other than Python are called in the same way, by their own names."""

    result_opens_a_line = False

    def __init__(self) -> None:
        super().__init__()
        self._names: tuple[str, ...] = ("python",)

    def prepare(self, tools: Sequence[Tool], tokenizer: Any, style: str) -> Self:
        """See Format.

        Raises:
            ValueError: the name of a tool begins with that of another, as any text may after a name.
        """
        super().prepare(tools, tokenizer, style)
        self._names = tuple(self.tools)
        for name in (*self._names, OUTPUT):
            clash = [other for other in self._names if other != name and other.startswith(name)]
            if clash:
                raise ValueError(f"tools: the name {clash[0]} begins with {name}; rename it for this format")
        return self

    def scanner(self) -> ReleasedFenceScanner:  # type: ignore[override]
        """See Format."""
        return ReleasedFenceScanner(self._names)

    def write(self, call: Call) -> str:
        """See Format.

        Raises:
            ValueError: the body is blank or contains a fence.
        """
        body = write_body(self.tools[call.tool], call.arguments).removesuffix("\n")
        if _FENCE in body or not body.strip():
            raise ValueError(f"a call of {call.tool} can neither contain {_FENCE} nor be blank")
        return f"{_FENCE}{call.tool}\n{body}\n{_FENCE}"

    def spans(self, text: str) -> list[Span]:
        """See Format. Calls come first: an output block ends where a call begins."""
        spans: list[Span] = []
        position = 0
        for call in (*_calls(text, self._names), Span(len(text), len(text), CALL)):
            for output in _OUTPUT.finditer(text, position, call.start):
                spans.append(Span(output.start(), output.end(), RESULT))
            if call.start < len(text):
                spans.append(call)
            position = call.end
        return spans

    def fabricates(self, text: str) -> bool:
        """See Format."""
        return OUTPUT in text and any(
            text[span.start + len(_FENCE) + len(OUTPUT) : span.end].strip("` \t\r\n")
            for span in self.spans(text)
            if span.kind == RESULT
        )


def _calls(text: str, names: Sequence[str]) -> Iterator[Span]:
    """Yield the blocks of ``text`` that are calls, blank ones included, in order."""
    opening = re.compile(_FENCE + f"(?:{'|'.join(map(re.escape, names))})")
    position = 0
    while found := opening.search(text, position):
        closing = text.find(_FENCE, found.end())
        position = len(text) if closing < 0 else closing + len(_FENCE)
        yield Span(found.start(), position, CALL)


class ReleasedFenceScanner:
    """Tracks the blocks of one policy segment, which is fed in pieces of any size.

    Args:
        names: of the tools.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._openings: Mapping[bytes, str] = {f"{_FENCE}{name}".encode(): name for name in names}
        self._names = names
        self._pattern = re.compile(b"|".join(map(re.escape, self._openings)))
        self._longest = max(map(len, self._openings), default=1)
        self._tool: str | None = None  # of the open block
        self._over = False  # a blank block was found: the released code looks no further
        self._seen = bytearray()  # outside a block: the last bytes; inside: the body
        self.call = RawCall(None, "")

    @property
    def inside(self) -> bool:
        """See Scanner."""
        return self._tool is not None

    def copy(self) -> ReleasedFenceScanner:
        """See Scanner."""
        other = ReleasedFenceScanner(self._names)
        other._tool, other._over = self._tool, self._over
        other._seen, other.call = self._seen.copy(), self.call
        return other

    def feed(self, data: bytes) -> int | None:
        """See Scanner."""
        at = 0
        while at < len(data) and not self._over:
            known = len(self._seen)
            self._seen += data[at:]
            if self._tool is None:
                found = self._pattern.search(self._seen)
                if found is None:
                    del self._seen[: 1 - self._longest]
                    return None
                self._tool = self._openings[bytes(found.group())]
                at += found.end() - known
                self._seen.clear()
                continue
            start = self._seen.find(_FENCE.encode(), max(0, known - len(_FENCE) + 1))
            if start < 0:
                return None
            tool, self._tool = self._tool, None
            body = self._seen[:start].decode("utf-8", errors="replace")
            self._seen.clear()
            at += start + len(_FENCE) - known
            if body.strip():
                # the newline after the label changes nothing but the numbers of lines
                self.call = RawCall(tool, body.removeprefix("\n"))
                return at
            self._over = True
        return None
