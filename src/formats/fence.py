"""Tool calls as fenced code blocks and results as output blocks: the paper's format.

The boundary is right after the last backtick of the closing fence. If the same token also contains the
newline that ends this line, and nothing after it, the boundary is after the newline.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Self

from src.formats.base import Call, Format, Piece, RawCall, Span, Tool, explained, parse_body, write_body
from src.formats.fence_grammar import OUTPUT, fence_spans, fills_output, longest_opening, opening

_INDENT = 3  # most spaces before a closing fence
_TICKS = re.compile(r"`{3,}")
OPEN, CLOSE = f"```{OUTPUT}\n", "\n```\n"


class FenceFormat(Format):
    """See src.formats.base.Format."""

    result_opening = "```output"
    result_opens_a_line = True
    markup = ("```",)

    def __init__(self) -> None:
        super().__init__()
        self._labels: dict[str, str] = {"python": "python", "py": "python"}  # label to tool name

    def prepare(self, tools: Sequence[Tool], tokenizer: Any, style: str) -> Self:
        """See Format."""
        super().prepare(tools, tokenizer, style)
        if OUTPUT in self.tools:
            raise ValueError("tools: the name output is used for results; rename this tool")
        self._labels = {name.lower(): name for name in self.tools}
        if "python" in self.tools:
            self._labels["py"] = "python"
        return self

    def explain(self, tool: Tool) -> str:
        """See Format."""
        return explained(tool, f"in a ```{tool.name} block", "in an output block")

    def scanner(self) -> FenceScanner:
        """See Format."""
        return FenceScanner(self._labels)

    def may_close(self, token: bytes) -> bool:
        """See Format: the token contains the whole fence, or begins with the rest of it."""
        return token.startswith(b"`") or b"```" in token

    def parse(self, raw: RawCall) -> Call:
        """See Format."""
        assert raw.tool is not None
        return parse_body(self.tools[raw.tool], raw.body)

    def write(self, call: Call) -> str:
        """See Format. The fence is longer than any fence in the body."""
        body = write_body(self.tools[call.tool], call.arguments)
        fence = "`" * max([3, *(len(run) + 1 for run in _TICKS.findall(body))])
        return f"{fence}{call.tool}\n{body.removesuffix(chr(10))}\n{fence}"

    def spans(self, text: str) -> list[Span]:
        """See Format."""
        return fence_spans(text, tuple(self._labels))

    def fabricates(self, text: str) -> bool:
        """See Format."""
        return fills_output(text)

    def neutralise(self, text: str) -> str:
        """See Format: every run of three or more backticks becomes apostrophes."""
        return _TICKS.sub(lambda match: "'" * len(match.group()), text)

    def render(self, text: str, *, after_newline: bool = False, opened: bool = False) -> list[Piece]:
        """See Format."""
        return [Piece(("" if after_newline else "\n") + ("" if opened else OPEN) + text + CLOSE)]


class FenceScanner:
    """Tracks the fenced blocks of one policy segment, which is fed in pieces of any size.

    Args:
        labels: tool name by lower-case block label.
    """

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = labels
        self._opening = opening(tuple(labels))
        self._longest = longest_opening(tuple(labels))
        self._line = bytearray()
        self._fence = 0  # backticks of the open block; 0 outside
        self._tool: str | None = None  # of the open block; None: not a call, such as an output block
        self._body = bytearray()
        self.call = RawCall(None, "")

    @property
    def inside(self) -> bool:
        """Whether a call is open."""
        return self._fence > 0 and self._tool is not None

    def copy(self) -> FenceScanner:
        """Return an independent scanner in the same state."""
        other = FenceScanner(self._labels)
        other._line, other._fence, other._tool = self._line.copy(), self._fence, self._tool
        other._body, other.call = self._body.copy(), self.call
        return other

    def feed(self, data: bytes) -> int | None:
        """Read ``data`` up to the closing fence of a call and return the offset just past it, or None."""
        at = 0
        while at < len(data):
            newline = data.find(b"\n", at)
            end = len(data) if newline < 0 else newline
            closing = self._closing(data[at:end]) if self._fence else None
            if closing is not None:
                at += closing
                # The rest of the closing line is not code and cannot open a block.
                self.call = RawCall(self._tool, self._body.decode("utf-8", errors="replace"))
                self._fence = 0
                self._body.clear()
                self._line = bytearray(b"x")  # a line with this prefix opens no block
                if self._tool is not None:
                    return at
                continue
            # Outside a block one byte more than an opening line has is enough to know that it is none.
            room = max(0, self._longest + 1 - len(self._line))
            self._line += data[at:end] if self._fence else data[at : min(end, at + room)]
            if newline >= 0:
                self._end_line()
            at = end + 1
        return None

    def _closing(self, piece: bytes) -> int | None:
        """Return the offset in ``piece``, which continues the line, just past the closing fence, or None."""
        most = self._fence + _INDENT  # a fence that is indented further has no room in it
        line = (bytes(self._line[:most]) + piece[:most])[:most]
        ticks = line.lstrip(b" ")
        if not ticks.startswith(b"`" * self._fence):
            return None
        return len(line) - len(ticks) + self._fence - len(self._line)

    def _end_line(self) -> None:
        if self._fence:
            self._body += self._line + b"\n"
        elif b"```" in self._line:
            found = self._opening.match(self._line.decode("utf-8", errors="replace"))
            if found:
                self._fence = len(found["fence"])
                self._tool = self._labels.get(found["label"].lower())
        self._line.clear()
