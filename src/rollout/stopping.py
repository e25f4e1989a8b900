"""Where sampling stops for an execution: the choices of ``rollout.boundary``.

``fence`` (the default) stops while sampling, right where a code block is complete. ``post_hoc`` is the
paper's: sample on to the end of text or the limit, then cut at the first complete block and throw the rest
away. ``stop_string`` is ToRL's (arXiv 2503.23383): sample on until the policy itself opens an output block,
then run the last complete block before it; what the policy wrote in between stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from src.policy.codec import TokenCodec
from src.rollout.boundary import Cut, FenceScanner, Scanner, find_boundary
from src.rollout.engines import Watch

OUTPUT_OPENING = "```output"


class Stopping(Protocol):
    """One way to find where a policy segment ends and its code runs."""

    def scanner(self) -> Scanner:
        """A scanner for a new segment."""

    def watch(self, scanner: Scanner) -> Watch | None:
        """What an engine may stop at, from ``scanner``'s state on; None: nothing but the end of text."""

    def cut(self, scanner: Scanner, token_ids: Sequence[int]) -> Cut | None:
        """Feed sampled tokens to ``scanner``; where they end, or None."""


def build_stopping(boundary: str, codec: TokenCodec) -> Stopping:
    """Return what ``rollout.boundary`` names."""
    kinds: dict[str, type[FenceStopping | PostHocStopping | StringStopping]] = {
        "fence": FenceStopping,
        "post_hoc": PostHocStopping,
        "stop_string": StringStopping,
    }
    return kinds[boundary](codec)


class FenceStopping:
    """Stops right after the closing fence of a code block."""

    def __init__(self, codec: TokenCodec) -> None:
        self._codec = codec
        self._stop_ids = frozenset(_may_close(codec))

    def scanner(self) -> FenceScanner:
        """See Stopping."""
        return FenceScanner()

    def watch(self, scanner: Scanner) -> Watch | None:
        """See Stopping."""
        return _ScannerWatch(scanner, self._codec, stop_ids=self._stop_ids)

    def cut(self, scanner: Scanner, token_ids: Sequence[int]) -> Cut | None:
        """See Stopping."""
        return find_boundary(scanner, token_ids, self._codec)


class PostHocStopping(FenceStopping):
    """Cuts where FenceStopping does, but only after sampling to the end."""

    def watch(self, scanner: Scanner) -> Watch | None:
        """See Stopping."""
        return None


class StringStopping:
    """Stops after the opening of an output block that follows a complete code block."""

    def __init__(self, codec: TokenCodec) -> None:
        self._codec = codec

    def scanner(self) -> OutputScanner:
        """See Stopping."""
        return OutputScanner()

    def watch(self, scanner: Scanner) -> Watch | None:
        """See Stopping."""
        return _ScannerWatch(scanner, self._codec, stop_strings=(OUTPUT_OPENING,))

    def cut(self, scanner: Scanner, token_ids: Sequence[int]) -> Cut | None:
        """See Stopping."""
        cut = find_boundary(scanner, token_ids, self._codec)
        return None if cut is None else replace(cut, opened=True)


class OutputScanner:
    """Finds the opening of an output block behind a complete code block, or as what completes it."""

    def __init__(self) -> None:
        self._fences = FenceScanner()
        self._line = bytearray()  # its beginning
        self._complete = False
        self.code = ""  # of the last complete block

    def copy(self) -> OutputScanner:
        """See Scanner."""
        other = OutputScanner()
        other._fences, other._line = self._fences.copy(), self._line.copy()
        other._complete, other.code = self._complete, self.code
        return other

    def feed(self, data: bytes) -> int | None:
        """See Scanner; the boundary lies after the word ``output``."""
        opening = OUTPUT_OPENING.encode()
        for offset in range(len(data)):
            byte = data[offset : offset + 1]
            if self._fences.feed(byte) is not None:
                self._complete, self.code = True, self._fences.code
            if byte == b"\n":
                self._line.clear()
            elif len(self._line) <= len(opening):
                self._line += byte
                if self._complete and not self._fences.inside and self._line == opening:
                    return offset + 1
        return None


class _ScannerWatch:
    """A scanner's view of one request."""

    def __init__(
        self,
        scanner: Scanner,
        codec: TokenCodec,
        *,
        stop_ids: frozenset[int] = frozenset(),
        stop_strings: tuple[str, ...] = (),
    ) -> None:
        self._scanner, self._codec = scanner.copy(), codec
        self.stop_ids, self.stop_strings = stop_ids, stop_strings

    def __call__(self, token_id: int) -> bool:
        """See Watch."""
        return self._scanner.feed(self._codec.bytes_of(token_id)) is not None


def _may_close(codec: TokenCodec) -> Iterable[int]:
    """Every token that can hold a closing fence's last backtick.

    The fence's run of backticks either lies in one token, or goes on at the beginning of it.
    """
    for token_id in range(len(codec)):
        data = codec.bytes_of(token_id)
        if data.startswith(b"`") or b"```" in data:
            yield token_id
