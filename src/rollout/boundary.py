"""Where a code block ends in a stream of tokens (invariant 3).

The rule is that of ``src.formats.fences``: a block opens with a line of at least three backticks and a
Python label, and closes at the next line start with at least as many backticks, whatever follows.
The boundary lies right after the last of those backticks or, when the same token also carries the
newline that ends the fence's line, and nothing more, after that newline.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol, Self

from src.formats.fences import OPENING
from src.policy.codec import TokenCodec

_LONGEST_LINE = 200  # an opening line that is longer does not count, so that memory stays bounded
_INDENT = 3  # most spaces before a closing fence


class FenceScanner:
    """Follows the fences of one policy segment, fed byte by byte in pieces of any size."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._fence = 0  # backticks of the open block; 0 outside
        self._runs = False  # the open block is Python, not an output block that the policy invented
        self._code = bytearray()
        self.code = ""  # of the last closed block

    @property
    def inside(self) -> bool:
        """Whether a Python block is open."""
        return self._fence > 0 and self._runs

    def copy(self) -> FenceScanner:
        """Return an independent scanner in the same state."""
        other = FenceScanner()
        other._line, other._fence, other._runs = self._line.copy(), self._fence, self._runs
        other._code, other.code = self._code.copy(), self.code
        return other

    def feed(self, data: bytes) -> int | None:
        """Read ``data``; return the offset just past a closing fence, and stop there, or None."""
        at = 0
        while at < len(data):
            newline = data.find(b"\n", at)
            end = len(data) if newline < 0 else newline
            closing = self._closing(data[at:end]) if self._fence else None
            if closing is not None:
                at += closing
                # The rest of the fence's own line neither is code nor opens a block.
                self.code = self._code.decode("utf-8", errors="replace")
                self._fence = 0
                self._code.clear()
                self._line = bytearray(b"x")  # no fence starts so
                if self._runs:
                    return at
                continue
            # An opening line that is too long does not count, so outside a block its head is enough.
            self._line += data[at:end] if self._fence else data[at : min(end, at + self._room())]
            if newline >= 0:
                self._end_line()
            at = end + 1
        return None

    def _room(self) -> int:
        return max(0, _LONGEST_LINE + 1 - len(self._line))

    def _closing(self, piece: bytes) -> int | None:
        """Offset in ``piece``, which goes on with the line, just past the closing fence; None: it is none."""
        if len(self._line) >= self._fence + _INDENT:
            return None
        line = bytes(self._line) + piece[: self._fence + _INDENT]
        ticks = line.lstrip(b" ")
        if len(line) - len(ticks) > _INDENT or not ticks.startswith(b"`" * self._fence):
            return None
        return len(line) - len(ticks) + self._fence - len(self._line)

    def _end_line(self) -> None:
        if self._fence:
            self._code += self._line + b"\n"
        elif len(self._line) <= _LONGEST_LINE and b"```" in self._line:
            opening = OPENING.match(self._line.decode("utf-8", errors="replace"))
            if opening:
                self._fence = len(opening["fence"])
                self._runs = opening["label"].lower() != "output"
        self._line.clear()


@dataclass(frozen=True, slots=True)
class Cut:
    """What is left of sampled tokens at a boundary.

    Attributes:
        kept: number of leading sampled tokens that survive.
        injected: bytes that replace the closing token's part up to the fence; empty if it was kept.
        dropped: sampled tokens that do not survive.
        code: text between the fences.
        after_newline: the line of the last backticks is already ended.
        opened: the policy has opened the output block itself.
    """

    kept: int
    injected: bytes
    dropped: int
    code: str
    after_newline: bool
    opened: bool = False


class Scanner(Protocol):
    """What follows a policy segment byte by byte, looking for the end of it."""

    code: str  # to run, once that is found

    def copy(self) -> Self:
        """Return an independent scanner in the same state."""

    def feed(self, data: bytes) -> int | None:
        """Read ``data``; return the offset just past the boundary, and stop there, or None."""


def find_boundary(scanner: Scanner, token_ids: Sequence[int], codec: TokenCodec) -> Cut | None:
    """Feed ``token_ids`` to ``scanner`` up to the first boundary; None if there is none."""
    pieces = codec.pieces(token_ids)
    end = scanner.feed(b"".join(pieces))
    if end is None:
        return None
    ends = list(accumulate(map(len, pieces)))
    index = bisect_left(ends, end)  # the token that holds the byte before the boundary
    end -= ends[index] - len(pieces[index])
    beyond = pieces[index][end:]
    if beyond in (b"", b"\n"):
        if beyond:
            scanner.feed(beyond)
        return Cut(index + 1, b"", len(token_ids) - index - 1, scanner.code, after_newline=bool(beyond))
    return Cut(index, pieces[index][:end], len(token_ids) - index, scanner.code, after_newline=False)
