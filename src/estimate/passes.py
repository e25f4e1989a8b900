"""What a pass through the policy holds beside its weights, found by running it on fake tensors.

Torch's own operators say what they make, keep for the way back and drop: no formula of ours has to follow an
architecture. The operators are the CPU's; on a GPU attention keeps the same (queries, keys, values, output,
a number per row and head, and the mask where rows are padded).
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

_TRACED = 2  # layers, and one more; what holds per layer is the difference


@dataclass(frozen=True)
class Training:
    """Bytes beside weights and gradients: those kept for the way back, and the most at once, on each way."""

    kept: int
    there: int
    back: int


@dataclass(frozen=True)
class Sampling:
    """Bytes beside weights: keys and values of all rows, and the most at once, the cache's room included."""

    cache: int
    most: int


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of storages that live, each once; those of ``known`` tensors not at all."""

    def __init__(self, known: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.now = self.most = 0
        self._sizes = {one.untyped_storage()._cdata: 0 for one in known}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for one in tree_leaves(result):
            if isinstance(one, torch.Tensor):
                self._see(one.untyped_storage())
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
    """Trace a micro-batch there and back, but for the output head (src/estimate/head.py).

    Args:
        config: see ``read_config``.
        cfg: dtype and adapters.
        rows: trajectories.
        width: tokens of each, prompt included.
        autocast: whether passes are computed in 16 bits whatever the weights are.
        checkpointing: whether layers are computed again on the way back.
    """
    return Training(
        *_of_all(config, cfg, lambda model: trace_training(model, rows, width, autocast, checkpointing))
    )


def sampling(
    config: PreTrainedConfig, cfg: ModelConfig, *, rows: int, width: int, autocast: bool
) -> Sampling:
    """Trace sampling one token after ``width`` for each of ``rows``, but for its choice."""
    return Sampling(*_of_all(config, cfg, lambda model: trace_sampling(model, rows, width, autocast)))


def _fake(model: PreTrainedModel | PeftModel) -> PreTrainedModel | PeftModel:
    """Return a model of the meta device on fake tensors of a CPU, of which torch knows what it does."""
    fakes: dict[int, torch.Tensor] = {}  # tied weights stay tied

    def fake(one: torch.Tensor) -> torch.Tensor:
        if id(one) not in fakes:
            empty = torch.empty_like(one, device="cpu")
            is_parameter = isinstance(one, nn.Parameter)
            fakes[id(one)] = nn.Parameter(empty, one.requires_grad) if is_parameter else empty
        return fakes[id(one)]

    for module in model.modules():
        for held in (module._parameters, module._buffers):  # moving a module to a device fails with fakes
            held.update({name: fake(one) for name, one in held.items() if one is not None})
    return model


def _of_all(
    config: PreTrainedConfig, cfg: ModelConfig, trace: Callable[[nn.Module], Training | Sampling]
) -> Iterator[int]:
    """Yield what ``trace`` says of all layers, from what it says of few: each adds the same."""

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
            f"model.path={cfg.path}: what a pass of {type(config).__name__} holds cannot be traced "
            f"({reason[:160]}); Llama, Mistral, Qwen2, Qwen3 and their like can"
        ) from error


def trace_training(
    model: PreTrainedModel | PeftModel, rows: int, width: int, autocast: bool, checkpointing: bool
) -> Training:
    """Trace a model, which may be real, with all its layers."""
    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        if isinstance(model, PeftModel):
            model.enable_input_require_grads()  # as TRL does
    trained = [one for one in model.parameters() if one.requires_grad]
    for one in trained:  # as from the second micro-batch of an optimizer step on
        one.grad = torch.zeros_like(one)
    live = LiveBytes([*model.parameters(), *model.buffers(), *(one.grad for one in trained)])
    with live, _unpadded(rows == 1):
        with _autocast(autocast):
            inputs = _inputs(rows, width)
            hidden = causal(model).base_model(**inputs, use_cache=False).last_hidden_state
        kept, there, live.most = live.now, live.most, 0
        hidden.backward(torch.ones_like(hidden))
    return Training(kept, there, live.most)


@torch.no_grad()
def trace_sampling(model: PreTrainedModel | PeftModel, rows: int, width: int, autocast: bool) -> Sampling:
    """Trace a model, which may be real, with all its layers."""
    model.eval()
    cache = build_cache(causal(model))
    live = LiveBytes([*model.parameters(), *model.buffers()])
    with live, _unpadded(rows == 1), _autocast(autocast):
        model(**_inputs(rows, width), past_key_values=cache, use_cache=True, logits_to_keep=1)
    layers = [one for one in cache.layers if getattr(one, "keys", None) is not None]
    held = sum(part.numel() * part.element_size() for one in layers for part in (one.keys, one.values))
    return Sampling(held, live.most)


def _inputs(rows: int, width: int) -> dict[str, torch.Tensor | None]:
    """Return ids and mask of rows of which some are padded, unless there is one alone."""
    ids = torch.zeros(rows, width, dtype=torch.long)
    mask = torch.ones_like(ids)
    mask[:1, :1] = 0
    return {"input_ids": ids, "attention_mask": mask if rows > 1 else None}


@contextlib.contextmanager
def _unpadded(so: bool) -> Iterator[None]:
    """Say that a row is one sequence: of fakes transformers cannot tell, and would make a mask."""
    look = masking_utils.find_packed_sequence_indices
    if so:
        masking_utils.find_packed_sequence_indices = lambda position_ids: None
    try:
        yield
    finally:
        masking_utils.find_packed_sequence_indices = look


def _autocast(on: bool) -> contextlib.AbstractContextManager[Any]:
    return torch.autocast("cpu", dtype=torch.bfloat16) if on else contextlib.nullcontext()
