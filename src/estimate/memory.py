"""Memory of each GPU, during the update and during the rollout.

Mixed precision: under autocast the weights, and thus gradients and optimizer states, keep their dtype; passes
make 16-bit copies. Sharded over GPUs (FSDP2, or ZeRO-3 of arXiv 1910.02054), trained weights are in float32
under autocast, and layers are gathered in 16 bits when they are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

from src.config import Config, ModelConfig
from src.config.schema import ConfigError
from src.estimate import passes
from src.estimate.head import head_bytes
from src.estimate.machine import Machine
from src.estimate.policy import Parameters, count, read_config
from src.estimate.vllm import VLLM
from src.launch.checks.positions import too_long

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_CHOICE = 3 * 4  # bytes per row and vocabulary entry to sample a token: logits, scores, probabilities


@dataclass(frozen=True)
class Part:
    """One use of memory, in bytes per GPU.

    Attributes:
        name: for display.
        update: during the update.
        rollout: during the rollout.
        note: for display.
    """

    name: str
    update: int
    rollout: int
    note: str = ""


@dataclass(frozen=True)
class Memory:
    """Memory of one GPU.

    Attributes:
        parts: whose sum is the peak.
        usable: bytes available.
        vllm: breakdown of vLLM's part, if it runs in the trainer's process.
    """

    parts: list[Part]
    usable: int
    vllm: VLLM | None

    @property
    def update(self) -> int:
        """Bytes during the update."""
        return sum(part.update for part in self.parts)

    @property
    def rollout(self) -> int:
        """Bytes during the rollout."""
        return sum(part.rollout for part in self.parts)

    @property
    def needed(self) -> int:
        """Peak bytes."""
        return max(self.update, self.rollout)

    @property
    def fits(self) -> bool:
        """Whether the memory suffices, also for vLLM, which needs room for one trajectory."""
        return self.needed <= self.usable and (self.vllm is None or self.vllm.sequences >= 1)


class Estimator:
    """Estimates variations of a configuration of one model; each shape is traced once.

    Args:
        cfg: the base configuration.

    Raises:
        ConfigError: the model's config.json cannot be read, or trajectories exceed its context length.
    """

    def __init__(self, cfg: Config) -> None:
        self._config = read_config(cfg.model)
        faults = too_long(self._config.to_dict(), cfg.model, cfg.rollout, "")
        if faults:
            raise ConfigError(*faults)
        self._known: dict[Hashable, Any] = {}

    def parameters(self, model: ModelConfig) -> Parameters:
        """Return the parameter counts of the policy ``model``. Raises ConfigError."""
        return self._once(("count", repr(model)), lambda: count(self._config, model))

    def memory(self, cfg: Config, machine: Machine) -> Memory:
        """Return the bytes that ``cfg`` needs on ``machine``."""
        p = self.parameters(cfg.model)
        shared = cfg.hardware.sharding if machine.gpus > 1 else "none"
        parts = _weights(cfg, machine, p, shared)
        activations, backward = self._update(cfg, machine, shared)
        parts += [
            Part("activations", activations, 0, _activations_note(cfg)),
            Part("output head, backward pass", backward, 0, "logits are computed one tile at a time"),
        ]
        vllm = self._vllm(cfg, machine)
        parts.append(self._sampling(cfg, machine, vllm, shared))
        if cfg.model.lora.rank and engine_kind(cfg, machine) != "transformers":
            merged = p.largest * (4 + BYTES[cfg.model.dtype])
            parts.append(Part("adapters merged for the engine", 0, merged, "one matrix at a time"))
        return Memory(parts, int(machine.memory * cfg.hardware.usable_memory_fraction), vllm)

    def _update(self, cfg: Config, machine: Machine, shared: str) -> tuple[int, int]:
        """Return the bytes kept for the backward pass, and the peak of additional bytes."""
        model, autocast = _computed(cfg, shared)
        checkpointing = cfg.trainer.gradient_checkpointing
        rows, width = cfg.trainer.micro_batch_size, longest(cfg)
        traced = self._once(
            ("training", repr(model), rows, width, autocast, checkpointing),
            lambda: passes.training(
                self._config, model, rows=rows, width=width, autocast=autocast, checkpointing=checkpointing
            ),
        )
        head = head_bytes(
            self.parameters(cfg.model),
            tokens=rows * cfg.rollout.max_tokens,  # prompts are not scored
            width=self._config.get_text_config().hidden_size,
            weights=4 if shared == "fsdp2" and cfg.trainer.autocast else BYTES[cfg.model.dtype],
            hidden=BYTES[model.dtype],
            computed=2 if autocast else BYTES[model.dtype],
            gpu=machine.gpu,
        )
        kept = traced.kept + head.kept
        most = max(kept + head.backward, traced.forward + head.kept + head.forward, traced.backward)
        return kept, most - kept

    def _sampling(self, cfg: Config, machine: Machine, vllm: VLLM | None, shared: str) -> Part:
        """Return the memory of the engine."""
        if vllm is not None:
            return Part("vLLM", 0 if cfg.engine.vllm.sleep else vllm.share, vllm.share, "see below")
        if engine_kind(cfg, machine) == "vllm_server":
            return Part("vLLM server", 0, 0, "on its own GPUs, which are not estimated")
        model, autocast = _computed(cfg, shared)
        rows, width = min(cfg.engine.batch_size, cfg.rollout.max_concurrent), longest(cfg)
        traced = self._once(
            ("sampling", repr(model), rows, width, autocast),
            lambda: passes.sampling(self._config, model, rows=rows, width=width, autocast=autocast),
        )
        words = self._config.get_text_config().vocab_size
        note = f"{rows} x {width} tokens; KV cache {traced.cache / 1e9:.2f} GB"
        return Part("sampling", 0, traced.most + rows * words * _CHOICE, note)

    def _vllm(self, cfg: Config, machine: Machine) -> VLLM | None:
        if engine_kind(cfg, machine) != "vllm":
            return None
        base = replace(
            cfg.model, dtype=cfg.trainer.autocast or cfg.model.dtype, lora=replace(cfg.model.lora, rank=0)
        )
        rows = VLLM.BATCHED_TOKENS
        traced = self._once(
            ("vllm", repr(base)),
            lambda: passes.sampling(self._config, base, rows=1, width=rows, autocast=False),
        )
        return VLLM.plan(
            cfg,
            memory=machine.memory if machine.gpu else None,
            weights=self.parameters(base).weights,
            per_token=traced.cache // rows,
            working=traced.most - traced.cache,
            vocabulary=self._config.get_text_config().vocab_size,
        )

    def _once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]


def longest(cfg: Config) -> int:
    """Return the maximum tokens of a trajectory, prompt included."""
    return cfg.rollout.max_prompt_tokens + cfg.rollout.max_tokens


def engine_kind(cfg: Config, machine: Machine) -> str:
    """Return the kind of engine on ``machine``; ``auto`` means vLLM on a GPU, assuming it is installed."""
    kind = cfg.engine.kind
    return kind if kind != "auto" else "vllm" if machine.gpu else "transformers"


def _computed(cfg: Config, shared: str) -> tuple[ModelConfig, bool]:
    """Return the model in the dtype of passes, and whether autocast is on."""
    autocast = cfg.trainer.autocast
    if autocast is not None and shared != "none":  # layers are gathered in 16 bits
        return replace(cfg.model, dtype=autocast), True
    return cfg.model, autocast is not None


def _weights(cfg: Config, machine: Machine, p: Parameters, shared: str) -> list[Part]:
    """Return the persistent parts; gradients are freed before a rollout."""
    autocast, over = cfg.trainer.autocast is not None, machine.gpus if shared != "none" else 1
    weights, gradients, masters = p.weights, p.gradients, 0
    if autocast and shared == "fsdp2":
        weights, gradients = weights - gradients + 4 * p.trainable, 4 * p.trainable
    elif autocast and shared == "zero3":
        weights, gradients, masters = 2 * p.total, 2 * p.trainable, 4 * p.trainable
    states = masters + 2 * (masters or gradients) + 4 * p.tensors  # the last are step counters
    over_all = f"1/{over} per GPU, {shared}" if over > 1 else ""
    parts = [
        Part("weights", weights // over, weights // over, over_all or cfg.model.dtype),
        Part("gradients", gradients // over, 0, over_all),
        Part("optimizer (AdamW)", states // over, states // over, over_all),
    ]
    if over > 1:
        layer = p.in_layers // p.layers
        width = BYTES[cfg.trainer.autocast or cfg.model.dtype]
        whole = 3 * layer * width + p.head * (4 if autocast else BYTES[cfg.model.dtype])
        parts.append(Part("gathered weights", whole, whole, "two layers, the gradient of one, the head"))
    elif machine.gpus > 1:
        parts.append(Part("DDP buckets", p.gradients, p.gradients, "a copy of the gradients"))
    if cfg.trainer.kl_coef > 0 and not cfg.model.lora.rank:
        parts.append(Part("reference model", p.weights // over, p.weights // over, "for trainer.kl_coef"))
    return parts


def _activations_note(cfg: Config) -> str:
    copies = cfg.trainer.autocast is not None and cfg.model.dtype == "float32"
    return f"{cfg.trainer.micro_batch_size} x {longest(cfg)} tokens" + (
        "; 16-bit copies of weights included" if copies and not cfg.trainer.gradient_checkpointing else ""
    )
