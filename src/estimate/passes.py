"""Memory of a forward and backward pass beside the weights, traced on fake tensors.

Torch's operators report what they allocate, keep for the backward pass and free, so no formula has to follow
the architecture. The operators are those of the CPU; on a GPU attention keeps the same tensors (queries,
keys, values, output, one number per row and head, and the mask if rows are padded).
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PreTrainedConfig, PreTrainedModel, masking_utils

from src.config import ModelConfig
from src.config.schema import ConfigError
from src.estimate.policy import build, causal
from src.rollout.engines.cache import build_cache

_TRACED = 2  # layers, and one more; the difference is the memory per layer


@dataclass(frozen=True)
class Training:
    """Bytes beside weights and gradients: kept for the backward pass, and peaks of both passes."""

    kept: int
    forward: int
    backward: int


@dataclass(frozen=True)
class Sampling:
    """Bytes beside weights: KV cache of all rows, and the peak, KV cache included."""

    cache: int
    most: int


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of live storages, each once, without those of ``known`` tensors."""

    def __init__(self, known: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.now = self.most = 0
        self._sizes = {tensor.untyped_storage()._cdata: 0 for tensor in known}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._see(leaf.untyped_storage())
        return result

    def _see(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            self.now += self._sizes[key]
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.now -= self._sizes.pop(key)


def training(
    config: PreTrainedConfig, cfg: ModelConfig, *, rows: int, width: int, autocast: bool, checkpointing: bool
) -> Training:
    """Trace forward and backward pass of a micro-batch, without the output head (src/estimate/head.py).

    Args:
        config: see ``read_config``.
        cfg: dtype and adapters.
        rows: number of trajectories.
        width: tokens per trajectory, prompt included.
        autocast: whether passes are computed in 16 bits.
        checkpointing: whether layers are recomputed in the backward pass.
    """
    return Training(
        *_of_all(config, cfg, lambda model: trace_training(model, rows, width, autocast, checkpointing))
    )


def sampling(
    config: PreTrainedConfig, cfg: ModelConfig, *, rows: int, width: int, autocast: bool
) -> Sampling:
    """Trace the forward pass that samples a token after ``width`` tokens, without the sampling itself."""
    return Sampling(*_of_all(config, cfg, lambda model: trace_sampling(model, rows, width, autocast)))


def _fake(model: PreTrainedModel | PeftModel) -> PreTrainedModel | PeftModel:
    """Return a model on the meta device as fake CPU tensors, whose operators torch can trace."""
    fakes: dict[int, torch.Tensor] = {}  # tied weights stay tied

    def fake(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in fakes:
            empty = torch.empty_like(tensor, device="cpu")
            is_parameter = isinstance(tensor, nn.Parameter)
            fakes[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if is_parameter else empty
        return fakes[id(tensor)]

    for module in model.modules():
        for held in (
            module._parameters,
            module._buffers,
        ):  # moving a module to a device fails with fake tensors
            held.update({name: fake(tensor) for name, tensor in held.items() if tensor is not None})
    return model


def _of_all(
    config: PreTrainedConfig, cfg: ModelConfig, trace: Callable[[nn.Module], Training | Sampling]
) -> Iterator[int]:
    """Yield the result of ``trace`` for all layers, extrapolated from a few: each layer adds the same."""

    def of(layers: int) -> tuple[int, ...]:
        with FakeTensorMode():
            return astuple(trace(_fake(build(config, cfg, layers))))

    layers = config.get_text_config().num_hidden_layers
    few = min(layers, _TRACED)
    try:
        for least, more in zip(of(few), of(min(layers, few + 1)), strict=True):
            yield least + (layers - few) * (more - least)
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"model.path={cfg.path}: passes of {type(config).__name__} cannot be traced ({reason[:160]}); "
            "use a supported architecture, such as Llama, Mistral, Qwen2 or Qwen3"
        ) from error


def trace_training(
    model: PreTrainedModel | PeftModel, rows: int, width: int, autocast: bool, checkpointing: bool
) -> Training:
    """Trace all layers of a model, which may also be real."""
    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        if isinstance(model, PeftModel):
            model.enable_input_require_grads()  # as TRL does
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:  # as from the second micro-batch of an optimizer step on
        parameter.grad = torch.zeros_like(parameter)
    live = LiveBytes([*model.parameters(), *model.buffers(), *(parameter.grad for parameter in trained)])
    with live, _unpadded(rows == 1):
        with _autocast(autocast):
            inputs = _inputs(rows, width)
            hidden = causal(model).base_model(**inputs, use_cache=False).last_hidden_state
        kept, forward, live.most = live.now, live.most, 0
        hidden.backward(torch.ones_like(hidden))
    return Training(kept, forward, live.most)


@torch.no_grad()
def trace_sampling(model: PreTrainedModel | PeftModel, rows: int, width: int, autocast: bool) -> Sampling:
    """Trace all layers of a model, which may also be real."""
    model.eval()
    cache = build_cache(causal(model))
    live = LiveBytes([*model.parameters(), *model.buffers()])
    with live, _unpadded(rows == 1), _autocast(autocast):
        model(**_inputs(rows, width), past_key_values=cache, use_cache=True, logits_to_keep=1)
    layers = [layer for layer in cache.layers if getattr(layer, "keys", None) is not None]
    held = sum(part.numel() * part.element_size() for layer in layers for part in (layer.keys, layer.values))
    return Sampling(held, live.most)


def _inputs(rows: int, width: int) -> dict[str, torch.Tensor | None]:
    """Return ids and mask of rows, some of which are padded unless there is only one."""
    ids = torch.zeros(rows, width, dtype=torch.long)
    mask = torch.ones_like(ids)
    mask[:1, :1] = 0
    return {"input_ids": ids, "attention_mask": mask if rows > 1 else None}


@contextlib.contextmanager
def _unpadded(on: bool) -> Iterator[None]:
    """Mark a row as one sequence, which transformers cannot detect on fake tensors, and would add a mask."""
    look = masking_utils.find_packed_sequence_indices
    if on:
        masking_utils.find_packed_sequence_indices = lambda position_ids: None
    try:
        yield
    finally:
        masking_utils.find_packed_sequence_indices = look


def _autocast(on: bool) -> contextlib.AbstractContextManager[Any]:
    return torch.autocast("cpu", dtype=torch.bfloat16) if on else contextlib.nullcontext()
