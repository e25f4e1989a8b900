"""The policy as shapes: its config.json, and modules on the meta device, which have sizes but no memory."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from peft import PeftModel
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from src.config import ModelConfig
from src.config.schema import ConfigError
from src.policy import positions
from src.policy.adapters import add_adapter


@dataclass(frozen=True)
class Parameters:
    """How many, and how large; tied weights count once.

    Attributes:
        total: number of them, adapters included.
        trainable: number of those that are trained.
        weights: bytes of all.
        gradients: bytes of the trainable ones, and so of their gradients.
        tensors: number of trainable tensors.
        embedding: number in the embedding.
        head: number in the output head's matrix, tied or not.
        tied: whether the two are one.
        trains_head: whether the head is trained.
        largest: number in the largest matrix but the head's.
        layers: number of layers.
        attention: width of all heads together.
    """

    total: int
    trainable: int
    weights: int
    gradients: int
    tensors: int
    embedding: int
    head: int
    tied: bool
    trains_head: bool
    largest: int
    layers: int
    attention: int

    @property
    def in_layers(self) -> int:
        """Number of those that are multiplied by for every token, the head's aside."""
        return self.total - self.embedding - (0 if self.tied else self.head)


def read_config(cfg: ModelConfig) -> PreTrainedConfig:
    """Return the model's config.json, from its folder, the hub, or the hub's cache.

    Raises:
        ConfigError: it cannot be had, or says nothing that transformers knows, or cannot be extended.
    """
    try:
        return positions.read_config(cfg)
    except ConfigError:
        raise
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"model.path={cfg.path}: its config.json cannot be read ({reason[:160]}); give a folder that "
            "holds one: an estimate reads nothing else of a model"
        ) from None


def build(
    config: PreTrainedConfig, cfg: ModelConfig, layers: int | None = None
) -> PreTrainedModel | PeftModel:
    """Return the policy that ``cfg`` means, adapters included, on the meta device.

    Args:
        config: see :func:`read_config`.
        cfg: dtype and adapters.
        layers: only so many of its layers.

    Raises:
        ConfigError: a module that is to be adapted is not in the model.
    """
    config = copy.deepcopy(config)
    if layers is not None:
        text = config.get_text_config()
        text.num_hidden_layers = layers
        if getattr(text, "layer_types", None):
            text.layer_types = text.layer_types[:layers]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, cfg.dtype))
        return add_adapter(model, cfg) if cfg.lora.rank else model


def causal(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """Return the language model itself, with adapters inside it."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def count(config: PreTrainedConfig, cfg: ModelConfig) -> Parameters:
    """Count the parameters of the policy that ``cfg`` means. Raises ConfigError, see :func:`build`."""
    text = config.get_text_config()
    model = build(config, cfg)
    parameters = list(model.parameters())
    trainable = [one for one in parameters if one.requires_grad]
    embedding = causal(model).get_input_embeddings().weight
    head = causal(model).get_output_embeddings().weight
    return Parameters(
        total=sum(one.numel() for one in parameters),
        trainable=sum(one.numel() for one in trainable),
        weights=size(parameters),
        gradients=size(trainable),
        tensors=len(trainable),
        embedding=embedding.numel(),
        head=head.numel(),
        tied=head is embedding,
        trains_head=head.requires_grad,
        largest=max(
            one.weight.numel()
            for one in model.modules()
            if isinstance(one, nn.Linear) and one.weight is not head
        ),
        layers=text.num_hidden_layers,
        attention=text.num_attention_heads
        * (getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads),
    )


def size(tensors: Iterable[torch.Tensor]) -> int:
    """Return the bytes of tensors."""
    return sum(one.numel() * one.element_size() for one in tensors)
