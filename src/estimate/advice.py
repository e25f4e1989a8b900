"""Suggests changes to a run that does not fit; each is tried in the estimate first."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from src.config import Config
from src.config.schema import show
from src.estimate.machine import Machine
from src.estimate.memory import Estimator, Memory, engine_kind

_LORA_RANK = 16
_MOST_GPUS = 64

Changes = dict[str, Any]  # dotted names with values


@dataclass(frozen=True)
class Advice:
    """Changes that were tried together.

    Attributes:
        changes: dotted names with values.
        memory: of the run with the changes.
        saved: bytes saved.
    """

    changes: Changes
    memory: Memory
    saved: int

    def __str__(self) -> str:
        words = " ".join(f"{name}={show(value)}" for name, value in self.changes.items())
        if "hardware.sharding" in self.changes:
            words += " (launched with conf/accelerate/fsdp2.yaml)"
        needs = f"{self.memory.needed / 1e9:.1f} of {self.memory.usable / 1e9:.1f} GB"
        if self.memory.fits:
            return f"{words} would fit: {needs}"
        return f"{words} saves {self.saved / 1e9:.1f} GB, which is not enough: {needs}"


def advise(cfg: Config, machine: Machine, estimator: Estimator) -> list[Advice]:
    """Return helpful changes: single ones and, if none of them is sufficient, a combination."""
    search = _Search(cfg, machine, estimator)
    ladders = _ladders(cfg, machine)
    singles = [advice for ladder in ladders for advice in search.best({}, ladder)]
    helpful = [advice for advice in singles if advice.memory.fits or advice.saved > 0]
    if any(advice.memory.fits for advice in helpful):
        return helpful
    taken: list[Changes] = [{} for _ in ladders]
    for index, ladder in enumerate(ladders):
        for found in search.best(_joined(taken), ladder):
            taken[index] = {name: found.changes[name] for name in ladder[0]}
            if found.memory.fits:
                return [*helpful, search.relaxed(taken, ladders)]
    return helpful


class _Search:
    """Tries changes."""

    def __init__(self, cfg: Config, machine: Machine, estimator: Estimator) -> None:
        self._cfg, self._machine, self._estimator = cfg, machine, estimator
        self._before = estimator.memory(cfg, machine).needed

    def attempt(self, changes: Changes) -> Advice | None:
        """Return the result of the changes; None if batches cannot be divided among the GPUs."""
        cfg = changed(self._cfg, changes)
        machine = replace(self._machine, gpus=cfg.hardware.gpus or self._machine.gpus)
        if not splits_evenly(cfg, machine.gpus):
            return None
        memory = self._estimator.memory(cfg, machine)
        return Advice(changes, memory, self._before - memory.needed)

    def best(self, base: Changes, ladder: Sequence[Changes]) -> list[Advice]:
        """Return the first step on top of ``base`` that is sufficient, or else the closest one, if any."""
        tried = []
        for step in ladder:
            advice = self.attempt(base | step)
            if advice is not None:
                tried.append(advice)
                if advice.memory.fits:
                    return [advice]
        return sorted(tried, key=lambda advice: (_starved(advice.memory), advice.memory.needed))[:1]

    def relaxed(self, taken: list[Changes], ladders: list[list[Changes]]) -> Advice:
        """Return ``taken``, which is sufficient, with each change as mild as the others allow."""
        for index in reversed(range(len(ladders))):
            others = _joined([*taken[:index], *taken[index + 1 :]])
            (mildest,) = self.best(others, [{}, *ladders[index]])
            taken[index] = {name: x for name, x in mildest.changes.items() if name in ladders[index][0]}
        result = self.attempt(_joined(taken))
        assert result is not None
        return result


def splits_evenly(cfg: Config, gpus: int) -> bool:
    """Whether a mini-batch is a whole number of micro-batches on each of ``gpus``."""
    trainer = cfg.trainer
    return trainer.batch_size // trainer.minibatches % (trainer.micro_batch_size * gpus) == 0


def _ladders(cfg: Config, machine: Machine) -> list[list[Changes]]:
    """Return the possible changes, each from its mildest step on; those with the lowest cost first."""
    trainer, vllm, engine = cfg.trainer, cfg.engine.vllm, engine_kind(cfg, machine)
    beside = engine == "vllm" and machine.gpu
    in_32_bits = cfg.model.dtype == "float32" and machine.gpu
    fractions = sorted((n / 20 for n in range(1, 20)), key=lambda x: abs(x - vllm.gpu_memory_utilization))
    more = machine.gpus if cfg.hardware.sharding == "none" else 2 * machine.gpus
    ladders: list[list[Changes]] = [
        [{"trainer.micro_batch_size": n} for n in range(trainer.micro_batch_size - 1, 0, -1)],
        [{"engine.vllm.gpu_memory_utilization": x} for x in fractions if beside],
        [{"engine.batch_size": n} for n in _powers(1, cfg.engine.batch_size - 1) if engine == "transformers"],
        [{"trainer.gradient_checkpointing": True}] * (not trainer.gradient_checkpointing),
        [{"engine.vllm.sleep": True}] * (beside and not vllm.sleep),
        [{"trainer.autocast": "bfloat16"}] * (in_32_bits and trainer.autocast is None),
        [
            {"hardware.gpus": n, "hardware.sharding": "fsdp2"}
            for n in reversed(_powers(max(2, more), _MOST_GPUS))
            if machine.gpu
        ],
        [{"model.lora.rank": _LORA_RANK}] * (cfg.model.lora.rank == 0),
        [{"model.dtype": "bfloat16"}] * in_32_bits,
    ]
    return [ladder for ladder in ladders if ladder]


def _powers(least: int, most: int) -> list[int]:
    """Return the powers of two from ``most`` down to ``least``."""
    return [2**n for n in range(most.bit_length(), -1, -1) if least <= 2**n <= most]


def _starved(memory: Memory) -> bool:
    return memory.vllm is not None and memory.vllm.sequences < 1


def _joined(changes: Sequence[Changes]) -> Changes:
    return {name: value for change in changes for name, value in change.items()}


def changed(cfg: Config, changes: Changes) -> Config:
    """Return a copy of ``cfg`` with ``changes``."""
    copied = copy.deepcopy(cfg)
    for name, value in changes.items():
        *groups, leaf = name.split(".")
        node: Any = copied
        for group in groups:
            node = getattr(node, group)
        setattr(node, leaf, value)
    return copied
