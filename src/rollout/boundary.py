"""Finds the token at which a policy segment ends and its tool call runs (invariant 3).

The format's scanner finds the byte. A token that extends beyond it is replaced by tokens for its bytes up to
there; only a single newline may remain after it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from src.formats.base import RawCall, Scanner
from src.policy.codec import TokenCodec


@dataclass(frozen=True, slots=True)
class Boundary:
    """Which sampled tokens are kept at a boundary, and the tool call that ends there.

    Attributes:
        kept: number of leading sampled tokens that are kept.
        injected: bytes of the closing token up to the boundary, if that token was cut; empty if it was kept.
        call: the tool call as written in the text.
        after_newline: the line of the call has already ended.
        opened: the policy has opened the result itself.
    """

    kept: int
    injected: bytes
    call: RawCall
    after_newline: bool
    opened: bool = False


def find_boundary(scanner: Scanner, token_ids: Sequence[int], codec: TokenCodec) -> Boundary | None:
    """Feed ``token_ids`` to ``scanner`` up to the first boundary and return it, or None."""
    pieces = codec.pieces(token_ids)
    end = scanner.feed(b"".join(pieces))
    if end is None:
        return None
    ends = list(accumulate(map(len, pieces)))
    index = bisect_left(ends, end)  # the token with the last byte before the boundary
    end -= ends[index] - len(pieces[index])
    beyond = pieces[index][end:]
    if beyond in (b"", b"\n"):
        if beyond:
            scanner.feed(beyond)
        return Boundary(index + 1, b"", scanner.call, after_newline=bool(beyond))
    return Boundary(index, pieces[index][:end], scanner.call, after_newline=False)
