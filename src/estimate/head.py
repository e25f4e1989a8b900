"""What the output head holds: TRL 1.16 scores tokens in tiles and never has all logits at once.

Its ``ChunkedLogProbFunction`` keeps the hidden states, and on the way back sums the gradients of the head
and of the hidden states in float32, then casts them. On a GPU a kernel works in the tile and completion
tokens alone are scored; on a CPU every token is, and torch makes tiles of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from src.estimate.policy import Parameters

TILE_TOKENS, TILE_WORDS = 4096, 32768  # TRL's
_CPU_TILES = 7.25  # float32 ones at once, on the way back (trl.kernels.chunked_logprob._backward_tile)


@dataclass(frozen=True)
class Head:
    """Bytes: kept for the way back, and beside those on each way."""

    kept: int
    there: int
    back: int


def head_bytes(
    p: Parameters, *, tokens: int, width: int, weights: int, hidden: int, computed: int, gpu: bool
) -> Head:
    """Return what scoring takes.

    Args:
        p: of the policy.
        tokens: that are scored.
        width: of a hidden state.
        weights: bytes of a weight.
        hidden: bytes of a number in a hidden state.
        computed: bytes of a logit.
        gpu: whether on a GPU.
    """
    words = min(p.head // width, TILE_WORDS)
    rows = min(tokens, TILE_TOKENS)
    tile = rows * TILE_WORDS * computed
    if weights != computed:
        tile += words * width * computed  # the head's part, cast
    if hidden != computed:
        tile += rows * width * computed
    if not gpu:
        tile += int(_CPU_TILES * rows * words * 4)
    gradients = tokens * width * (4 + _cast(hidden))
    if p.trains_head:
        gradients += p.head * (4 + _cast(weights))
    return Head(kept=tokens * width * hidden, there=tile, back=tile + gradients)


def _cast(size: int) -> int:
    """Return the bytes of a number that is cast from float32: none if it is float32."""
    return size if size != 4 else 0
