"""The shapes of the policy: its config.json, and modules on the meta device, which take no memory."""

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
    """Numbers and sizes of parameters; tied weights count once.

    Attributes:
        total: number of parameters, adapters included.
        trainable: number of trained parameters.
        weights: bytes of all parameters.
        gradients: bytes of the trained parameters, and thus of their gradients.
        tensors: number of trained tensors.
        embedding: number of parameters of the embedding.
        head: number of parameters of the output head, tied or not.
        tied: whether embedding and head are tied.
        trains_head: whether the head is trained.
        largest: number of parameters of the largest matrix except the head.
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
        """Number of parameters that multiply every token, without the head."""
        return self.total - self.embedding - (0 if self.tied else self.head)


def read_config(cfg: ModelConfig) -> PreTrainedConfig:
    """Return the model's config.json, from its folder, the hub, or the hub's cache.

    Raises:
        ConfigError: it cannot be read, is unknown to transformers, or its context length cannot be extended.
    """
    try:
        return positions.read_config(cfg)
    except ConfigError:
        raise
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"model.path={cfg.path}: its config.json cannot be read ({reason[:160]}); give a folder with "
            "one, the only file of a model that an estimate reads"
        ) from None


def build(
    config: PreTrainedConfig, cfg: ModelConfig, layers: int | None = None
) -> PreTrainedModel | PeftModel:
    """Return the policy of ``cfg``, adapters included, on the meta device.

    Args:
        config: see :func:`read_config`.
        cfg: dtype and adapters.
        layers: number of layers to keep; None: all.

    Raises:
        ConfigError: the model lacks a module to be adapted.
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
    """Return the underlying language model, with adapters inside."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def count(config: PreTrainedConfig, cfg: ModelConfig) -> Parameters:
    """Count the parameters of the policy of ``cfg``. Raises ConfigError, see :func:`build`."""
    text = config.get_text_config()
    model = build(config, cfg)
    parameters = list(model.parameters())
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    embedding = causal(model).get_input_embeddings().weight
    head = causal(model).get_output_embeddings().weight
    return Parameters(
        total=sum(parameter.numel() for parameter in parameters),
        trainable=sum(parameter.numel() for parameter in trainable),
        weights=size(parameters),
        gradients=size(trainable),
        tensors=len(trainable),
        embedding=embedding.numel(),
        head=head.numel(),
        tied=head is embedding,
        trains_head=head.requires_grad,
        largest=max(
            module.weight.numel()
            for module in model.modules()
            if isinstance(module, nn.Linear) and module.weight is not head
        ),
        layers=text.num_hidden_layers,
        attention=text.num_attention_heads
        * (getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads),
    )


def size(tensors: Iterable[torch.Tensor]) -> int:
    """Return the bytes of tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
