"""Small models, and what torch says that it holds for them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function
from transformers import AutoModelForCausalLM, PreTrainedConfig, Qwen2Config, Qwen3Config

from src.config import Config, LoRAConfig, ModelConfig
from src.policy.adapters import add_adapter

SMALL: dict[str, PreTrainedConfig] = {
    "qwen2": Qwen2Config(
        hidden_size=192,
        num_hidden_layers=5,
        num_attention_heads=6,
        num_key_value_heads=2,
        intermediate_size=512,
        vocab_size=1000,
        tie_word_embeddings=False,
    ),
    "qwen3": Qwen3Config(
        hidden_size=128,
        num_hidden_layers=5,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        intermediate_size=384,
        vocab_size=600,
        tie_word_embeddings=True,
    ),
}
ADAPTERS = LoRAConfig(rank=4, targets=["q_proj", "down_proj"])


def real(config: PreTrainedConfig, cfg: ModelConfig) -> Any:
    """The model itself, with weights."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(copy.deepcopy(config), dtype=getattr(torch, cfg.dtype))
    return add_adapter(model, cfg) if cfg.lora.rank else model


def folder(config: PreTrainedConfig, path: Path) -> str:
    """A folder with nothing but config.json."""
    config.save_pretrained(path)
    return str(path)


def config(path: str, **values: Any) -> Config:
    """The default configuration with dotted values, double underscores for dots."""
    cfg = Config(model=ModelConfig(path=path))
    for name, value in values.items():
        group, leaf = name.split("__", 1)
        node = getattr(cfg, group)
        while "__" in leaf:
            inner, leaf = leaf.split("__", 1)
            node = getattr(node, inner)
        setattr(node, leaf, value)
    return replace(cfg)


def allocated(there: Callable[[], Any], back: Callable[[Any], Any]) -> tuple[int, int, int]:
    """Bytes of torch's CPU allocator: held after ``there``, and the most at once there and back.

    Without oneDNN, whose scratch memory depends on the processor (AMX rearranges 16-bit weights).
    """
    flags = torch.backends.mkldnn.flags(enabled=False)
    with flags, profile(activities=[ProfilerActivity.CPU], profile_memory=True) as prof:
        with record_function("there"):
            result = there()
        back(result)
        del result
    events = sorted(prof.profiler.kineto_results.events(), key=lambda event: event.start_ns())
    (end,) = (event.start_ns() + event.duration_ns() for event in events if event.name() == "there")
    now = kept = most_there = most_back = 0
    for event in events:
        if event.name() == "[memory]":
            now += event.nbytes()
            if event.start_ns() <= end:
                kept, most_there = now, max(most_there, now)
            else:
                most_back = max(most_back, now)
    return kept, most_there, most_back
