"""How vLLM in the trainer's process spends its share of a GPU: weights, working memory, keys and values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from src.config import Config

_CHOICE = 3 * 4  # bytes per sequence and word of the vocabulary: logits in float32, and two more of them


@dataclass(frozen=True)
class VLLM:
    """Bytes of one GPU, and what they are enough for.

    Attributes:
        share: all of it.
        weights: of that.
        working: of that: a step's passing tensors. Rough: vLLM measures its own.
        cache: of that: the rest, for keys and values; negative if there is none.
        per_token: keys and values of one token.
        sequences: trajectories of the greatest length that the cache holds.
        wanted: trajectories that may be sampled at once.
    """

    BATCHED_TOKENS: ClassVar[int] = 4096  # what TRL 1.16 lets it work on at once

    share: int
    weights: int
    working: int
    cache: int
    per_token: int
    sequences: int
    wanted: int

    @classmethod
    def plan(
        cls, cfg: Config, *, memory: int | None, weights: int, per_token: int, working: int, vocabulary: int
    ) -> VLLM:
        """Return it.

        Args:
            cfg: its settings.
            memory: of the GPU; None: on a CPU.
            weights: bytes of the policy as it samples.
            per_token: bytes of keys and values.
            working: bytes that pass through a step of ``BATCHED_TOKENS``, the choice of tokens aside.
            vocabulary: words in it.
        """
        settings = cfg.engine.vllm
        working += min(settings.max_num_seqs, cls.BATCHED_TOKENS) * vocabulary * _CHOICE
        if memory is None:
            cache = settings.cpu_memory_gb * 2**30
            share = weights + working + cache
        else:
            share = int(settings.gpu_memory_utilization * memory)
            cache = share - weights - working
        trajectory = per_token * (cfg.rollout.max_prompt_tokens + cfg.rollout.max_tokens)
        sequences = max(0, cache) // trajectory
        return cls(share, weights, working, cache, per_token, sequences, settings.max_num_seqs)
