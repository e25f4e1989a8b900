"""Where a policy segment ends in a stream of tokens, and its call begins to run (invariant 3).

The format's scanner says at which byte. A token that carries more than that byte is replaced by tokens of its
part up to there; a newline and nothing more may stay.
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
    """What is left of sampled tokens at a boundary.

    Attributes:
        kept: number of leading sampled tokens that survive.
        injected: bytes that replace the closing token's part up to the boundary; empty if it was kept.
        call: as it stands in the text.
        after_newline: the call's line is already ended.
        opened: the policy has opened the result itself.
    """

    kept: int
    injected: bytes
    call: RawCall
    after_newline: bool
    opened: bool = False


def find_boundary(scanner: Scanner, token_ids: Sequence[int], codec: TokenCodec) -> Boundary | None:
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
        return Boundary(index + 1, b"", scanner.call, after_newline=bool(beyond))
    return Boundary(index, pieces[index][:end], scanner.call, after_newline=False)
