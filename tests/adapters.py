"""Policies with adapters for tests, and whether their base is still what it was."""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from src.config import LoRAConfig, ModelConfig
from src.policy.adapters import add_adapter
from tests import tiny


def adapted(
    model: PreTrainedModel | None = None, dtype: torch.dtype = torch.float32, **lora: Any
) -> PeftModel:
    """A policy with an adapter that matters."""
    model = tiny.model() if model is None else model
    wrapped = add_adapter(model.to(dtype), ModelConfig(lora=LoRAConfig(**({"rank": 4} | lora))))
    randomise(wrapped)
    return wrapped


def randomise(model: PeftModel, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.05, generator=generator)


def base_of(model: PeftModel) -> dict[str, torch.Tensor]:
    """A copy of the frozen weights."""
    return {n: p.detach().clone() for n, p in model.named_parameters() if "lora_" not in n}


def changed(model: PeftModel, before: dict[str, torch.Tensor]) -> int:
    """How many of the frozen values are no longer what they were; the sign of a zero counts."""
    bits = {2: torch.int16, 4: torch.int32}
    return sum(
        int((now.view(bits[now.element_size()]) != before[name].view(bits[now.element_size()])).sum())
        for name, now in base_of(model).items()
    )
