"""Random streams: every sampled trajectory of an evaluation has one of its own.

What a trajectory draws then depends on its seed alone: not on which others are sampled beside it, on what an
interrupted evaluation had finished, or on how problems are sharded. Drawing an unfinished trajectory again
gives the same one, where another draw would favour those that finish early.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)


def derive_seed(*parts: int | str) -> int:
    """Return a seed in [0, 2^63) that depends on every one of ``parts`` and on their order."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def uniforms(seed: int, start: int, count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the numbers ``start`` to ``start + count`` of a stream, uniform in [0, 1); shape (count,)."""
    drawn: np.ndarray[Any, np.dtype[np.float64]] = np.random.Generator(np.random.Philox(key=seed)).random(
        start + count
    )
    return drawn[start:]


class StreamSampler(LogitsProcessor):
    """Samples each row with its own uniform numbers, by inversion of the cumulative distribution.

    It leaves one token of each row possible, so that greedy decoding takes it.

    Args:
        numbers: one row of uniform numbers per sequence, one number per token to sample; (B, T).
    """

    def __init__(self, numbers: torch.Tensor) -> None:
        self._numbers, self._drawn = numbers, 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return logits (B, V) of which only the sampled token's is finite."""
        # double precision: in single, rounding in the sum shifts thousands of rare tokens
        cumulative = scores.softmax(dim=-1, dtype=torch.float64).cumsum(dim=-1)
        target = self._numbers[:, self._drawn, None] * cumulative[:, -1:]
        self._drawn += 1
        # the first token whose cumulative probability exceeds the target has a probability above 0
        chosen = torch.searchsorted(cumulative, target, right=True).clamp(max=scores.shape[-1] - 1)
        return torch.full_like(scores, float("-inf")).scatter(1, chosen, 0.0)


def stream_processors(
    seeds: Sequence[int],
    drawn: Sequence[int],
    length: int,
    *,
    temperature: float,
    top_p: float,
    device: torch.device,
) -> LogitsProcessorList:
    """Return what ``generate`` must do to logits to sample ``length`` tokens of each row from its stream.

    Args:
        seeds: of the rows' streams.
        drawn: how many numbers of its stream each row has used already.
        length: most tokens to sample.
        temperature: above 0.
        top_p: nucleus sampling.
        device: of the logits.
    """
    rows = [uniforms(seed, start, length) for seed, start in zip(seeds, drawn, strict=True)]
    processors = LogitsProcessorList()
    if temperature != 1.0:
        processors.append(TemperatureLogitsWarper(temperature))
    if top_p < 1.0:
        processors.append(TopPLogitsWarper(top_p))
    processors.append(StreamSampler(torch.from_numpy(np.stack(rows)).to(device)))
    return processors
