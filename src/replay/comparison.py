"""Another objective beside the recorded one: both gradients and updates at the same weights.

Every micro-batch of one rollout step is given to a second trainer with other settings, which shares the
model; its gradients are kept apart. The weights always take the first trainer's steps.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

from src.replay.trainer import MicroBatch, ReplayedTrainer

Tensors = list[torch.Tensor | None]


@dataclass
class Products:
    """Sums over two vectors ``a`` (of the run) and ``b`` (of the other objective)."""

    ab: float = 0.0
    aa: float = 0.0
    bb: float = 0.0

    def add(self, a: torch.Tensor, b: torch.Tensor) -> None:
        """Add the elements of two tensors."""
        a, b = a.detach().double().flatten(), b.detach().double().flatten()
        self.ab += float(a @ b)
        self.aa += float(a @ a)
        self.bb += float(b @ b)

    @property
    def norms(self) -> tuple[float, float]:
        """The two lengths."""
        return self.aa**0.5, self.bb**0.5

    @property
    def cosine(self) -> float | None:
        """Cosine of the angle between the two; None if one of them is zero."""
        return self.ab / (self.aa * self.bb) ** 0.5 if self.aa * self.bb > 0 else None


@dataclass
class OptimizerStep:
    """The two gradients and updates of an optimizer step.

    Attributes:
        batches: the micro-batches of the run, each with that of the other objective.
        gradient: of each group of layers, before clipping.
        update: likewise, of the changes of the weights.
    """

    batches: list[tuple[MicroBatch, MicroBatch]] = field(default_factory=list)
    gradient: dict[str, Products] = field(default_factory=dict)
    update: dict[str, Products] = field(default_factory=dict)


class Comparison(TrainerCallback):
    """Compares two objectives in one rollout step.

    Args:
        own: repeats the run.
        other: has the same model and trajectories, and other settings.
        step: the rollout step.

    Attributes:
        steps: the optimizer steps of the rollout step.
    """

    def __init__(self, own: ReplayedTrainer, other: ReplayedTrainer, step: int) -> None:
        self._own, self._other, self.step = own, other, step
        self.steps: list[OptimizerStep] = []
        self._named = [(name, p) for name, p in own.model.named_parameters() if p.requires_grad]
        self._groups = layer_groups(own.model)
        self._gradients: Tensors = [None] * len(self._named)
        self._generators: tuple[torch.Tensor, torch.Tensor | None] | None = None
        self._before: list[torch.Tensor] = []
        self._updates: Tensors = []
        other.watches = True
        own.beside = self
        own.add_callback(self)

    def micro_batch(self, model: Any, inputs: list[dict[str, Any]], items: Any) -> None:
        """Compute the other objective's gradient of a micro-batch, see :class:`Beside`."""
        own, other = self._own, self._other
        if not self.steps or self.steps[-1].update:  # the last one is done
            self.steps.append(OptimizerStep())
        other.state = own.state
        other.current_gradient_accumulation_steps = own.current_gradient_accumulation_steps
        device = own.accelerator.device
        held = self._swap(self._gradients)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            self._take_generators(device)
            other.training_step(model, inputs, items)
            cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
            self._generators = torch.get_rng_state(), cuda
        self._gradients = self._swap(held)
        if not torch.equal(own.micro_batch.rows, other.micro_batch.rows):
            raise RuntimeError("the two objectives were given different micro-batches")
        self.steps[-1].batches.append((own.micro_batch, other.micro_batch))
        if own.accelerator.sync_gradients:
            self.steps[-1].gradient = self._products(held, self._gradients)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        """Compute the other objective's update, and take it back; the run's gradients are clipped by now."""
        if self.step != self._own.rollout_step:
            return
        parameters = [p for _, p in self._named]
        self._before = [p.detach().clone() for p in parameters]
        optimizer = self._fresh_optimizer(named["optimizer"])
        held = self._swap(self._gradients)
        self._other.accelerator.clip_grad_norm_(parameters, self._other.args.max_grad_norm)
        optimizer.step()
        self._swap(held)
        self._updates = self._changes()
        with torch.no_grad():
            for parameter, before in zip(parameters, self._before, strict=True):
                parameter.copy_(before)
        self._gradients = [None] * len(parameters)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        """Compare the updates."""
        if self._before:
            self.steps[-1].update = self._products(self._changes(), self._updates)
            self._before, self._updates = [], []

    def _fresh_optimizer(self, own: Any) -> torch.optim.Optimizer:
        """Return an optimizer with the other settings and a copy of the run's state."""
        other = self._other
        other.optimizer = None
        optimizer = other.create_optimizer()
        state = copy.deepcopy(own.state_dict())  # the step changes it in place
        factor = other.args.learning_rate / self._own.args.learning_rate
        groups = optimizer.state_dict()["param_groups"]
        for group, of_run in zip(groups, state["param_groups"], strict=True):
            group["lr"] = of_run["lr"] * factor  # of_run's follows the schedule
        optimizer.load_state_dict({"state": state["state"], "param_groups": groups})
        return optimizer

    def _swap(self, gradients: Tensors) -> Tensors:
        """Give the parameters these gradients, and return those that they had."""
        held = [p.grad for _, p in self._named]
        for (_, parameter), gradient in zip(self._named, gradients, strict=True):
            parameter.grad = gradient
        return held

    def _take_generators(self, device: torch.device) -> None:
        """Go on with the random numbers of the other objective's last micro-batch."""
        if self._generators is not None:
            torch.set_rng_state(self._generators[0])
            if self._generators[1] is not None:
                torch.cuda.set_rng_state(self._generators[1], device)

    def _changes(self) -> Tensors:
        pairs = zip(self._named, self._before, strict=True)
        return [parameter.detach() - before for (_, parameter), before in pairs]

    def _products(self, ours: Tensors, theirs: Tensors) -> dict[str, Products]:
        found: dict[str, Products] = {}
        for (name, parameter), a, b in zip(self._named, ours, theirs, strict=True):
            zero = torch.zeros_like(parameter)
            one = found.setdefault(self._groups[name], Products())
            one.add(zero if a is None else a, zero if b is None else b)
        return found


def layer_groups(model: Any) -> dict[str, str]:
    """Return the group of each trained parameter: ``embedding``, ``layer 0``, ``head`` or ``other``."""

    def of(module: nn.Module | None) -> set[int]:
        return set() if module is None else {id(parameter) for parameter in module.parameters()}

    embedding, head = of(model.get_input_embeddings()), of(model.get_output_embeddings())
    found = {}
    for name, parameter in model.named_parameters():
        numbers = [part for part in name.split(".") if part.isdigit()]
        if id(parameter) in embedding:
            found[name] = "embedding"  # a tied head, too
        elif id(parameter) in head:
            found[name] = "head"
        else:
            found[name] = f"layer {numbers[0]}" if numbers else "other"  # the last norm
    return found


def whole(groups: dict[str, Products]) -> Products:
    """Return the products of all groups together."""
    parts = groups.values()
    return Products(sum(p.ab for p in parts), sum(p.aa for p in parts), sum(p.bb for p in parts))


def mean_losses(steps: Sequence[OptimizerStep]) -> tuple[float, float]:
    """Return the loss of the run and that of the other objective, as metrics.jsonl has it."""
    pairs = [pair for one in steps for pair in one.batches]
    ours, theirs = (sum(pair[index].loss for pair in pairs) / len(steps) for index in (0, 1))
    return ours, theirs
