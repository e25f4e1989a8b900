"""What passes hold: traced on fake tensors, against what torch keeps and allocates for real models."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch

from src.config import LoRAConfig, ModelConfig
from src.estimate import passes
from src.estimate.passes import Training
from src.rollout.engines.cache import build_cache
from tests.estimate.models import ADAPTERS, SMALL, allocated, real

pytestmark = pytest.mark.long
WITHIN = 0.15
PRECISIONS = {"float32": ("float32", False), "bfloat16": ("bfloat16", False), "autocast": ("float32", True)}


def close(estimate: int, measured: int, within: float = WITHIN) -> bool:
    return abs(estimate - measured) <= within * measured


def batch(rows: int, width: int) -> dict[str, torch.Tensor]:
    """Rows of which the first is padded."""
    ids = torch.randint(0, 500, (rows, width))
    mask = torch.ones_like(ids)
    if rows > 1:
        mask[0, : width // 3] = 0
    return {"input_ids": ids, "attention_mask": mask, "use_cache": False}


def precision(autocast: bool) -> Any:
    return torch.autocast("cpu", dtype=torch.bfloat16) if autocast else contextlib.nullcontext()


def backbone(model: Any) -> Any:
    return model.get_base_model().model if hasattr(model, "get_base_model") else model.model


def saved_for_backward(model: Any, rows: int, width: int, autocast: bool) -> int:
    """Bytes that autograd keeps, each storage once, parameters aside."""
    known = {one.untyped_storage().data_ptr() for one in model.parameters()}
    saved: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            saved[storage.data_ptr()] = storage
        return tensor

    inputs = batch(rows, width)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), precision(autocast):
        hidden = backbone(model)(**inputs).last_hidden_state
    assert hidden.requires_grad
    return sum(storage.nbytes() for storage in saved.values())


@pytest.mark.parametrize(("rows", "width"), [(1, 300), (2, 128), (6, 200)])
@pytest.mark.parametrize("kind", PRECISIONS)
@pytest.mark.parametrize("name", SMALL)
def test_activations_are_what_autograd_saves(name: str, kind: str, rows: int, width: int) -> None:
    dtype, autocast = PRECISIONS[kind]
    cfg = ModelConfig(dtype=dtype)
    model = real(SMALL[name], cfg).train()
    traced = passes.training(SMALL[name], cfg, rows=rows, width=width, autocast=autocast, checkpointing=False)
    assert close(traced.kept, saved_for_backward(model, rows, width, autocast), within=0.03)


@pytest.mark.parametrize("lora", [LoRAConfig(), ADAPTERS], ids=["whole", "adapters"])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(
    ("name", "kind"), [("qwen2", "float32"), ("qwen3", "bfloat16"), ("qwen3", "autocast")]
)
def test_a_pass_takes_what_the_allocator_gives(
    name: str, kind: str, checkpointing: bool, lora: LoRAConfig
) -> None:
    dtype, autocast = PRECISIONS[kind]
    cfg = ModelConfig(dtype=dtype, lora=lora)
    model = real(SMALL[name], cfg).train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    inputs = batch(3, 160)

    def there() -> torch.Tensor:
        with precision(autocast):
            hidden: torch.Tensor = backbone(model)(**inputs).last_hidden_state
        return hidden

    there().sum().backward()  # from here on there are gradients
    measured = allocated(there, lambda hidden: hidden.backward(torch.ones_like(hidden)))
    traced = passes.training(
        SMALL[name], cfg, rows=3, width=160, autocast=autocast, checkpointing=checkpointing
    )
    for estimate, truth in zip((traced.kept, traced.forward, traced.backward), measured, strict=True):
        assert close(estimate, truth), (traced, measured)


def test_all_layers_are_told_from_few() -> None:
    config, cfg = SMALL["qwen2"], ModelConfig()
    few = passes.training(config, cfg, rows=2, width=64, autocast=False, checkpointing=True)
    every: Training = passes.trace_training(real(config, cfg), 2, 64, False, True)
    assert few == every


@pytest.mark.parametrize("kind", PRECISIONS)
@pytest.mark.parametrize("name", SMALL)
def test_keys_and_values_are_those_of_a_cache(name: str, kind: str) -> None:
    dtype, autocast = PRECISIONS[kind]
    config, cfg = SMALL[name], ModelConfig(dtype=dtype)
    model, inputs = real(config, cfg), batch(2, 50) | {"use_cache": True}
    cache = build_cache(model)
    with torch.no_grad(), precision(autocast):
        model(**inputs, past_key_values=cache)
    held = sum(part.nbytes for layer in cache.layers for part in (layer.keys, layer.values))
    assert passes.sampling(config, cfg, rows=2, width=50, autocast=autocast).cache == held
    if not autocast:
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        size = getattr(torch, dtype).itemsize
        assert held == 2 * 50 * config.num_hidden_layers * config.num_key_value_heads * head * 2 * size


def test_sampling_takes_what_the_allocator_gives() -> None:
    config, cfg = SMALL["qwen3"], ModelConfig()
    model, inputs = real(config, cfg), batch(4, 200) | {"use_cache": True}

    @torch.no_grad()
    def there() -> Any:
        return model(**inputs, past_key_values=build_cache(model), logits_to_keep=1)

    there()
    _, most, _ = allocated(there, lambda output: None)
    assert close(passes.sampling(config, cfg, rows=4, width=200, autocast=False).most, most)
