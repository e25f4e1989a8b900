"""Low-rank adapters (LoRA, arXiv 2106.09685) on a frozen base.

For an engine with its own copy of the weights, TRL 1.16 adds the adapters to the base in place and subtracts
them afterwards. In bfloat16 this does not restore the base: after 30 steps of the mini policy a third of its
values differed. Here the base is never modified: weights are merged one matrix at a time, in float32, and
rounded once.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from src.config import ModelConfig
from src.config.schema import ConfigError, show
from src.launch.checks.policy import ALL_LINEAR, head_fault

_NAME = "default"  # PEFT's name of the trained adapter
_REFERENCE = "ref"  # TRL's name of its copy for the KL term


def add_adapter(model: PreTrainedModel, cfg: ModelConfig) -> PeftModel:
    """Freeze ``model`` and add an adapter in float32, initialised so that the output is unchanged.

    Uses torch's global generator: seed it first.

    Raises:
        ConfigError: a target does not match a linear layer of the model.
    """
    settings = LoraConfig(
        task_type="CAUSAL_LM",
        revision=cfg.revision,
        r=cfg.lora.rank,
        lora_alpha=cfg.lora.alpha,
        lora_dropout=cfg.lora.dropout,
        target_modules=_targets(model, cfg.lora.targets),
    )
    wrapped: PeftModel = get_peft_model(model, settings)
    return wrapped


def forget_reference(model: nn.Module) -> None:
    """Delete the copy of the adapter that TRL makes for the KL term, if there is one.

    Without it TRL uses the base as reference policy, which is the same for a new adapter. With it
    each checkpoint has two adapters, of which transformers 5.17 loads only the copy when it resumes.
    """
    if isinstance(model, PeftModel) and _REFERENCE in model.peft_config:
        model.delete_adapter(_REFERENCE)


@torch.no_grad()
def merged_parameters(
    model: PeftModel, device: torch.device | None = None
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield every parameter of the base with the adapter merged, under its name in the base.

    Merges one matrix at a time and never changes the model, even if iteration stops early. Parameters sharded
    by FSDP2 are gathered; all processes must then iterate.

    Args:
        model: has one LoRA adapter on linear layers.
        device: where sharded parameters are gathered; None: on their own device.
    """
    base = model.get_base_model()
    layers = {
        f"{name}.base_layer.weight": layer
        for name, layer in base.named_modules()
        if isinstance(layer, LoraLayer)
    }
    for name, parameter in base.named_parameters():
        if f".{model.prefix}" not in name:
            layer = layers.get(name)
            tensor = _whole(parameter, device) if layer is None else _merged(layer, device)
            yield name.replace(".base_layer.", "."), tensor


def _merged(layer: LoraLayer, device: torch.device | None) -> torch.Tensor:
    """Return weight + scaling * B A, (out, in) or as the layer stores it, in the weight's dtype."""
    weight = _whole(layer.get_base_layer().weight, device)
    a, b = (_whole(factor[_NAME].weight, device).float() for factor in (layer.lora_A, layer.lora_B))
    change = a.T @ b.T if layer.fan_in_fan_out else b @ a
    return change.mul_(layer.scaling[_NAME]).add_(weight).to(weight.dtype)


def _whole(parameter: torch.Tensor, device: torch.device | None) -> torch.Tensor:
    if isinstance(parameter, DTensor):
        return parameter.to(device).full_tensor()
    return parameter.detach()


def _targets(model: PreTrainedModel, targets: list[str]) -> str | list[str]:
    """Return ``targets`` in PEFT's form. Raises ConfigError for targets that are not linear inner layers."""
    if targets == [ALL_LINEAR]:
        return ALL_LINEAR
    modules = dict(model.named_modules())
    linear = {name for name, module in modules.items() if isinstance(module, nn.Linear | Conv1D)}
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    faults = []
    for index, target in enumerate(targets):
        shown = f"model.lora.targets[{index}]={show(target)}"
        found = {name for name in modules if name == target or name.endswith(f".{target}")}
        if any(modules[name] is end for name in found for end in ends):
            faults.append(head_fault(shown, target))
        elif not found or found - linear:
            fault = "a module of this model that is not linear" if found else "no module of this model"
            inside = {name for name in linear if any(name.startswith(f"{parent}.") for parent in found)}
            faults.append(f"{shown}: {fault}; {_near(target, inside or linear)}")
    if faults:
        raise ConfigError(*faults)
    return targets


def _near(target: str, names: set[str]) -> str:
    leaves = sorted({name.rpartition(".")[2] for name in names} - {"lm_head"})
    close = difflib.get_close_matches(target.rpartition(".")[2], leaves, n=1)
    return f"did you mean {close[0]}?" if close else f"name one of {', '.join(leaves)}"
