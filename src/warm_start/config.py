"""Typed view of ``conf/warm_start.yaml``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from src.config.schema import option, seed_option
from src.config.tools import default_format


@dataclass
class WarmStartConfig:
    """``python -m src.warm_start``: the supervised start that makes the mini base policy."""

    output: str = "experiments/mini_base"
    format: dict[str, Any] = field(default_factory=default_format)
    seed: int = seed_option(0)
    threads: int = option(0, at_least=0)  # 0: torch's default
    vocab_size: int = option(512, at_least=300)  # 256 bytes, 2 special tokens, merges
    tokenizer_samples: int = option(4000, at_least=100)  # solutions that the tokenizer is learned from
    hidden_size: int = option(128, at_least=16)
    layers: int = option(4, at_least=1)
    heads: int = option(4, at_least=1)
    kv_heads: int = option(2, at_least=1)
    head_dim: int = option(32, at_least=8)
    intermediate_size: int = option(384, at_least=16)
    steps: int = option(2500, at_least=1)
    batch_size: int = option(32, at_least=1)  # solutions
    learning_rate: float = option(3e-3, above=0)
    warmup_steps: int = option(50, at_least=0)
    weight_decay: float = option(0.05, at_least=0)
    max_grad_norm: float = option(1.0, above=0)
    text_share: float = option(0.3, at_least=0, at_most=1)  # of prompts with mode text
    code_share: float = option(0.35, at_least=0, at_most=1)  # of prompts with mode code; the rest are free
    geometry_in_text: float = option(0.8, at_least=0, at_most=1)  # of the prompts with mode text
    feedback_share: float = option(0.25, at_least=0, at_most=1)  # of solutions whose feedback is learnt, too
    heldout_size: int = option(400, at_least=1)  # problems on which the result is measured
