"""Random streams: every sampled trajectory of an evaluation has its own.

The random numbers of a trajectory depend only on its seed: not on the other trajectories of its batch, on how
much of an interrupted evaluation had finished, or on how problems are sharded. Resampling an unfinished
trajectory gives the same one; with other random numbers it would bias results towards early finishers.
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
    """Return a seed in [0, 2^63) that depends on all ``parts`` and on their order."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def uniforms(seed: int, start: int, count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return ``count`` numbers of a stream from index ``start`` on, uniform in [0, 1); shape (count,)."""
    drawn: np.ndarray[Any, np.dtype[np.float64]] = np.random.Generator(np.random.Philox(key=seed)).random(
        start + count
    )
    return drawn[start:]


class StreamSampler(LogitsProcessor):
    """Samples each row with its own uniform numbers, by inverting the cumulative distribution.

    It leaves a single token possible in each row, which greedy decoding then selects.

    Args:
        numbers: uniform numbers, one row per sequence and one column per token to sample; (B, T).
    """

    def __init__(self, numbers: torch.Tensor) -> None:
        self._numbers, self._drawn = numbers, 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return logits (B, V) in which only the sampled token is finite."""
        # in single precision, rounding in the sum would shift thousands of rare tokens
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
    """Return the logits processors with which ``generate`` samples each row from its own stream.

    Args:
        seeds: seed of each row's stream.
        drawn: how many numbers of its stream each row has already used.
        length: most tokens to sample.
        temperature: above 0.
        top_p: nucleus sampling.
        device: device of the logits.
    """
    rows = [uniforms(seed, start, length) for seed, start in zip(seeds, drawn, strict=True)]
    processors = LogitsProcessorList()
    if temperature != 1.0:
        processors.append(TemperatureLogitsWarper(temperature))
    if top_p < 1.0:
        processors.append(TopPLogitsWarper(top_p))
    processors.append(StreamSampler(torch.from_numpy(np.stack(rows)).to(device)))
    return processors
