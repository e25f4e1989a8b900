"""How vLLM in the trainer's process uses its memory: weights, working memory, KV cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from src.config import Config

_CHOICE = 3 * 4  # bytes per sequence and vocabulary entry: float32 logits, and two tensors of that size


@dataclass(frozen=True)
class VLLM:
    """Bytes of vLLM on one GPU, and the number of sequences that they hold.

    Attributes:
        share: total.
        weights: weights.
        working: temporary tensors of a step; approximate, since vLLM measures them.
        cache: the rest, for the KV cache; negative if there is none.
        per_token: KV cache of one token.
        sequences: trajectories of the maximum length that the cache holds.
        wanted: ``engine.vllm.max_num_seqs``.
    """

    BATCHED_TOKENS: ClassVar[int] = 4096  # max_num_batched_tokens of TRL 1.16

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
        """Return the plan of the configuration.

        Args:
            cfg: the configuration.
            memory: of the GPU; None: on a CPU.
            weights: bytes of the policy in the dtype of sampling.
            per_token: bytes of KV cache per token.
            working: bytes of temporary tensors in a step of ``BATCHED_TOKENS``, without sampling itself.
            vocabulary: size of the vocabulary.
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
