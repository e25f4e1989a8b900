"""Bytes on each GPU, while weights are updated and while trajectories are sampled.

Mixed precision: under autocast the weights, and so gradients and optimizer states, keep their dtype; passes
make copies in 16 bits. Shared out over GPUs (FSDP2, or ZeRO-3 of arXiv 1910.02054) trained weights are held
in float32 under autocast, and layers are put together in 16 bits as they are needed.
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
_CHOICE = 3 * 4  # bytes per row and word of the vocabulary while a token is chosen: logits, scores, shares


@dataclass(frozen=True)
class Part:
    """What takes up memory, in bytes of one GPU.

    Attributes:
        name: for people.
        update: while weights are updated.
        rollout: while trajectories are sampled.
        note: more about it.
    """

    name: str
    update: int
    rollout: int
    note: str = ""


@dataclass(frozen=True)
class Memory:
    """The whole of it.

    Attributes:
        parts: adding up to the most at once.
        usable: bytes that there are.
        vllm: how vLLM spends its part, if it is in the trainer's process.
    """

    parts: list[Part]
    usable: int
    vllm: VLLM | None

    @property
    def update(self) -> int:
        """Bytes while weights are updated."""
        return sum(part.update for part in self.parts)

    @property
    def rollout(self) -> int:
        """Bytes while trajectories are sampled."""
        return sum(part.rollout for part in self.parts)

    @property
    def needed(self) -> int:
        """Bytes at the worst."""
        return max(self.update, self.rollout)

    @property
    def fits(self) -> bool:
        """Whether there is enough, for vLLM too: it does not start without room for one trajectory."""
        return self.needed <= self.usable and (self.vllm is None or self.vllm.sequences >= 1)


class Estimator:
    """Says what variations of a configuration need; of one model, whose shapes are traced once each.

    Args:
        cfg: names the model and the machine.

    Raises:
        ConfigError: the model's config.json cannot be had, or trajectories do not fit into its positions.
    """

    def __init__(self, cfg: Config) -> None:
        self._config = read_config(cfg.model)
        faults = too_long(self._config.to_dict(), cfg.model, cfg.rollout, "")
        if faults:
            raise ConfigError(*faults)
        self._known: dict[Hashable, Any] = {}

    def parameters(self, model: ModelConfig) -> Parameters:
        """Return the counts of the policy that ``model`` means. Raises ConfigError."""
        return self._once(("count", repr(model)), lambda: count(self._config, model))

    def memory(self, cfg: Config, machine: Machine) -> Memory:
        """Return the bytes that ``cfg`` needs on ``machine``."""
        p = self.parameters(cfg.model)
        shared = cfg.hardware.sharding if machine.gpus > 1 else "none"
        parts = _weights(cfg, machine, p, shared)
        activations, back = self._update(cfg, machine, shared)
        parts += [
            Part("activations", activations, 0, _activations_note(cfg)),
            Part("output head, way back", back, 0, "logits are made a tile at a time"),
        ]
        vllm = self._vllm(cfg, machine)
        parts.append(self._sampling(cfg, machine, vllm, shared))
        if cfg.model.lora.rank and engine_kind(cfg, machine) != "transformers":
            merged = p.largest * (4 + BYTES[cfg.model.dtype])
            parts.append(Part("adapters merged for the engine", 0, merged, "a matrix at a time"))
        return Memory(parts, int(machine.memory * cfg.hardware.usable_memory_fraction), vllm)

    def _update(self, cfg: Config, machine: Machine, shared: str) -> tuple[int, int]:
        """Return the bytes kept for the way back, and the most beside them."""
        model, autocast = _computed(cfg, shared)
        checkpointing = cfg.trainer.gradient_checkpointing
        rows, width = cfg.trainer.micro_batch_size, longest(cfg)
        traced = self._once(
            ("training", repr(model), rows, width, autocast, checkpointing),
            lambda: passes.training(
                self._config, model, rows=rows, width=width, autocast=autocast, checkpointing=checkpointing
            ),
        )
        scored = rows * (cfg.rollout.max_tokens if machine.gpu else width - 1)
        head = head_bytes(
            self.parameters(cfg.model),
            tokens=scored,
            width=self._config.get_text_config().hidden_size,
            weights=4 if shared == "fsdp2" and cfg.trainer.autocast else BYTES[cfg.model.dtype],
            hidden=BYTES[model.dtype],
            computed=2 if autocast else BYTES[model.dtype],
            gpu=machine.gpu,
        )
        kept = traced.kept + head.kept
        most = max(kept + head.back, traced.there + head.kept + head.there, traced.back)
        return kept, most - kept

    def _sampling(self, cfg: Config, machine: Machine, vllm: VLLM | None, shared: str) -> Part:
        """Return what the engine takes up."""
        if vllm is not None:
            return Part("vLLM", 0 if cfg.engine.vllm.sleep else vllm.share, vllm.share, "see below")
        if engine_kind(cfg, machine) == "vllm_server":
            return Part("vLLM server", 0, 0, "has GPUs of its own, which are not looked at")
        model, autocast = _computed(cfg, shared)
        rows, width = min(cfg.engine.batch_size, cfg.rollout.max_concurrent), longest(cfg)
        traced = self._once(
            ("sampling", repr(model), rows, width, autocast),
            lambda: passes.sampling(self._config, model, rows=rows, width=width, autocast=autocast),
        )
        words = self._config.get_text_config().vocab_size
        note = f"{rows} x {width} tokens; keys and values {traced.cache / 1e9:.2f} GB"
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
    """Return the most tokens of a trajectory, prompt included."""
    return cfg.rollout.max_prompt_tokens + cfg.rollout.max_tokens


def engine_kind(cfg: Config, machine: Machine) -> str:
    """Return the kind of engine on ``machine``; ``auto`` is vLLM on a GPU, as if it were installed."""
    kind = cfg.engine.kind
    return kind if kind != "auto" else "vllm" if machine.gpu else "transformers"


def _computed(cfg: Config, shared: str) -> tuple[ModelConfig, bool]:
    """Return the model as passes see it, and whether they cast as they go."""
    autocast = cfg.trainer.autocast
    if autocast is not None and shared != "none":  # layers are put together in 16 bits already
        return replace(cfg.model, dtype=autocast), True
    return cfg.model, autocast is not None


def _weights(cfg: Config, machine: Machine, p: Parameters, shared: str) -> list[Part]:
    """Return what is there from one step to the next; gradients are dropped before a rollout."""
    autocast, over = cfg.trainer.autocast is not None, machine.gpus if shared != "none" else 1
    weights, gradients, masters = p.weights, p.gradients, 0
    if autocast and shared == "fsdp2":
        weights, gradients = weights - gradients + 4 * p.trainable, 4 * p.trainable
    elif autocast and shared == "zero3":
        weights, gradients, masters = 2 * p.total, 2 * p.trainable, 4 * p.trainable
    states = masters + 2 * (masters or gradients) + 4 * p.tensors  # the last are step counters
    over_all = f"1/{over} of it, {shared}" if over > 1 else ""
    parts = [
        Part("weights", weights // over, weights // over, over_all or cfg.model.dtype),
        Part("gradients", gradients // over, 0, over_all),
        Part("optimizer (AdamW)", states // over, states // over, over_all),
    ]
    if over > 1:
        layer = p.in_layers // p.layers
        width = BYTES[cfg.trainer.autocast or cfg.model.dtype]
        whole = 3 * layer * width + p.head * (4 if autocast else BYTES[cfg.model.dtype])
        parts.append(Part("put together", whole, whole, "two layers, the gradient of one, the head"))
    elif machine.gpus > 1:
        parts.append(Part("DDP's buckets", p.gradients, p.gradients, "a copy of the gradients"))
    if cfg.trainer.kl_coef > 0 and not cfg.model.lora.rank:
        parts.append(Part("reference model", p.weights // over, p.weights // over, "for trainer.kl_coef"))
    return parts


def _activations_note(cfg: Config) -> str:
    copies = cfg.trainer.autocast is not None and cfg.model.dtype == "float32"
    return f"{cfg.trainer.micro_batch_size} x {longest(cfg)} tokens" + (
        "; weights in 16 bits among them" if copies and not cfg.trainer.gradient_checkpointing else ""
    )
