"""Typed view of ``conf/warm_start.yaml``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from src.config import StartModelConfig, TuneConfig
from src.config.schema import option, seed_option
from src.config.tools import format_option


@dataclass
class WarmStartConfig:
    """``python -m src.warm_start``: the supervised start of a policy.

    Without ``model.path`` it makes the mini base policy. With it, it trains that model: then ``model``,
    ``tune``, ``output``, ``format``, ``seed``, ``threads`` and the fractions of prompts apply, no others.
    """

    model: StartModelConfig = field(default_factory=StartModelConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)

    output: str = option("experiments/mini_base", "folder of the policy")
    format: dict[str, Any] = format_option("src.formats.FenceFormat")
    seed: int = seed_option(0, "of weights, solutions and their order")
    threads: int = option(0, "of torch; 0: its default", at_least=0)
    vocab_size: int = option(512, "tokens: 256 bytes, 2 special ones, merges", at_least=300)
    tokenizer_samples: int = option(4000, "solutions that the tokenizer is learned from", at_least=100)
    hidden_size: int = option(128, "of the residual stream", at_least=16)
    layers: int = option(4, "of the network", at_least=1)
    heads: int = option(4, "of attention", at_least=1)
    kv_heads: int = option(2, "heads of keys and values", at_least=1)
    head_dim: int = option(32, "numbers of each head", at_least=8)
    intermediate_size: int = option(384, "of the feed-forward layers", at_least=16)
    steps: int = option(2500, "optimizer steps", at_least=1)
    batch_size: int = option(32, "solutions per step", at_least=1)
    learning_rate: float = option(3e-3, "after warm-up", above=0)
    warmup_steps: int = option(50, "steps over which the learning rate rises", at_least=0)
    weight_decay: float = option(0.05, "of AdamW", at_least=0)
    max_grad_norm: float = option(1.0, "larger gradients are scaled down to it", above=0)
    text_prompt_fraction: float = option(0.3, "share of prompts with mode text", at_least=0, at_most=1)
    code_prompt_fraction: float = option(
        0.35, "share of prompts with mode code; the rest are free", at_least=0, at_most=1
    )
    text_geometry_fraction: float = option(
        0.8, "share of the prompts with mode text that ask for Geometry only", at_least=0, at_most=1
    )
    feedback_loss_fraction: float = option(
        0.25, "share of solutions whose feedback is learnt, too", at_least=0, at_most=1
    )
    heldout_size: int = option(400, "problems on which the result is measured", at_least=1)
