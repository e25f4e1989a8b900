"""Memory of the output head: TRL 1.16 scores tokens in tiles and never holds all logits at once.

Its ``ChunkedLogProbFunction`` keeps the hidden states, and in the backward pass accumulates the gradients of
head and hidden states in float32, then casts them. Only completion tokens are scored. On a GPU a kernel works
within the tile; on a CPU torch allocates additional tiles.
"""

from __future__ import annotations

from dataclasses import dataclass

from src.estimate.policy import Parameters

TILE_TOKENS, TILE_WORDS = 4096, 32768  # TRL's
_CPU_TILES = 7.25  # float32 tiles at once in the backward pass (trl.kernels.chunked_logprob._backward_tile)


@dataclass(frozen=True)
class Head:
    """Bytes kept for the backward pass, and additional bytes in each pass."""

    kept: int
    forward: int
    backward: int


def head_bytes(
    p: Parameters, *, tokens: int, width: int, weights: int, hidden: int, computed: int, gpu: bool
) -> Head:
    """Return the memory of scoring tokens.

    Args:
        p: of the policy.
        tokens: number of tokens scored.
        width: size of a hidden state.
        weights: bytes per weight.
        hidden: bytes per number of a hidden state.
        computed: bytes per logit.
        gpu: whether on a GPU.
    """
    words = min(p.head // width, TILE_WORDS)
    rows = min(tokens, TILE_TOKENS)
    tile = rows * TILE_WORDS * computed
    if weights != computed:
        tile += words * width * computed  # the cast part of the head
    if hidden != computed:
        tile += rows * width * computed
    if not gpu:
        tile += int(_CPU_TILES * rows * words * 4)
    gradients = tokens * width * (4 + _cast(hidden))
    if p.trains_head:
        gradients += p.head * (4 + _cast(weights))
    return Head(kept=tokens * width * hidden, forward=tile, backward=tile + gradients)


def _cast(size: int) -> int:
    """Return the bytes of a number cast from float32: none if it stays float32."""
    return size if size != 4 else 0
