"""Tool calls as fenced code blocks and results as output blocks: the paper's format.

The boundary is right after the last backtick of the closing fence. If the same token also contains the
newline that ends this line, and nothing after it, the boundary is after the newline.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Self

from src.formats.base import Call, Format, Piece, RawCall, Span, Tool, explained, parse_body, write_body
from src.formats.fence_grammar import (
    OUTPUT,
    PYTHON,
    Dialect,
    columns,
    dedented,
    fence_spans,
    fills_output,
    opening,
    room,
)

_TICKS = re.compile(r"`{3,}")
OPEN, CLOSE = f"```{OUTPUT}\n", "\n```\n"


class FenceFormat(Format):
    """See src.formats.base.Format.

    Args:
        after_prose: whether an opening fence may follow text on its line.
        info: whether more than the label may follow an opening fence on its line.
    """

    result_opening = "```output"
    result_opens_a_line = True
    markup = ("```",)

    def __init__(self, after_prose: bool = False, info: bool = False) -> None:
        super().__init__()
        self._labels = dict.fromkeys(PYTHON, "python")  # label to tool name
        self._dialect = Dialect(tuple(self._labels), after_prose, info)

    def prepare(self, tools: Sequence[Tool], tokenizer: Any, style: str) -> Self:
        """See Format."""
        super().prepare(tools, tokenizer, style)
        if OUTPUT in self.tools:
            raise ValueError("tools: the name output is used for results; rename this tool")
        self._labels = {name.lower(): name for name in self.tools}
        if "python" in self.tools:
            self._labels |= {label: "python" for label in PYTHON if label not in self._labels}
        self._dialect = self._dialect._replace(labels=tuple(self._labels))
        return self

    def explain(self, tool: Tool) -> str:
        """See Format."""
        return explained(tool, f"in a ```{tool.name} block", "in an output block")

    def scanner(self) -> FenceScanner:
        """See Format."""
        return FenceScanner(self._labels, self._dialect)

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
        return fence_spans(text, self._dialect)

    def fabricates(self, text: str) -> bool:
        """See Format."""
        return fills_output(text, self._dialect)

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
        dialect: what opens a block.
    """

    def __init__(self, labels: Mapping[str, str], dialect: Dialect) -> None:
        self._labels, self._dialect = labels, dialect
        self._opening = opening(dialect)
        self._longest = dialect.longest
        self._line = bytearray()  # inside a block the whole line; outside no more than an opening has
        self._skip = False  # the rest of a closing line is not code and cannot open a block
        self._fence = 0  # backticks of the open block; 0 outside
        self._indent = 0  # columns before its opening fence
        self._tool: str | None = None  # of the open block; None: not a call, such as an output block
        self._body = bytearray()
        self.call = RawCall(None, "")

    @property
    def inside(self) -> bool:
        """Whether a call is open."""
        return self._fence > 0 and self._tool is not None

    def copy(self) -> FenceScanner:
        """Return an independent scanner in the same state."""
        other = FenceScanner(self._labels, self._dialect)
        other._line, other._skip = self._line.copy(), self._skip
        other._fence, other._indent, other._tool = self._fence, self._indent, self._tool
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
                self._close()
                if self._tool is not None:
                    return at
                continue
            if self._fence:
                self._line += data[at:end]
            elif not self._skip:
                self._keep(data[at:end])
            if newline >= 0:
                self._end_line()
            at = end + 1
        return None

    def _closing(self, piece: bytes) -> int | None:
        """Return the offset in ``piece``, which continues the line, just past the closing fence, or None."""
        most = self._fence + room(self._indent)  # a fence that is indented further has no room in it
        line = (bytes(self._line[:most]) + piece[:most])[:most]
        ticks = line.lstrip(b" \t")
        blanks = line[: len(line) - len(ticks)]
        if not ticks.startswith(b"`" * self._fence) or columns(blanks.decode()) > room(self._indent):
            return None
        return len(blanks) + self._fence - len(self._line)

    def _close(self) -> None:
        """Note the call of the block that closes."""
        body = self._body.decode("utf-8", errors="replace")
        # what a program is indented by is no part of it; of another text, what its block is indented by
        body = dedented(body, None if self._tool == "python" else self._indent)
        self.call = RawCall(self._tool, body)
        self._fence, self._skip = 0, True
        self._body.clear()
        self._line.clear()

    def _keep(self, piece: bytes) -> None:
        """Keep what may be an opening of ``piece``, which continues the line outside of blocks."""
        if self._dialect.after_prose:
            self._line += piece[-self._longest :]
            del self._line[: -self._longest]
        else:  # one byte more than an opening line has is enough to know that it is none
            self._line += piece[: max(0, self._longest + 1 - len(self._line))]

    def _end_line(self) -> None:
        if self._fence:
            self._body += self._line + b"\n"
        elif b"```" in self._line:
            found = self._opening.search(self._line.decode("utf-8", errors="replace"))
            if found:
                self._fence, self._indent = len(found["fence"]), columns(found["indent"] or "")
                self._tool = self._labels.get(found["label"].lower())
        self._line.clear()
        self._skip = False
