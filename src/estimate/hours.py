"""Duration of a run if every trajectory has the maximum length: model FLOPs divided by the GPUs' rate.

The forward pass takes 2 operations per token and weight, the backward pass twice as many, half of them for
the gradients of the weights (not needed for frozen weights). Attention adds 2 x layers x width of all heads x
length on average. Gradient checkpointing repeats the forward pass through the layers; TRL's output head
always repeats its own. In a mixture of experts, all experts are counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from src.config import Config
from src.estimate.machine import Machine
from src.estimate.memory import engine_kind
from src.estimate.policy import Parameters


@dataclass(frozen=True)
class Phase:
    """A part of a rollout step.

    Attributes:
        name: for display.
        flops: of all GPUs.
        seconds: duration.
    """

    name: str
    flops: float
    seconds: float


@dataclass(frozen=True)
class Hours:
    """The phases of a rollout step, and the number of steps."""

    phases: list[Phase]
    steps: int
    tokens: int  # upper bound per rollout step, with feedback, without prompts

    @property
    def step(self) -> float:
        """Seconds of a rollout step."""
        return sum(phase.seconds for phase in self.phases)

    @property
    def total(self) -> float:
        """Hours of all steps."""
        return self.steps * self.step / 3600


def count_hours(cfg: Config, machine: Machine, p: Parameters) -> Hours:
    """Return the time of a run, without evaluations, executions and grading."""
    trainer, rollout, hardware = cfg.trainer, cfg.rollout, cfg.hardware
    width = rollout.max_prompt_tokens + rollout.max_tokens
    layers = trainer.batch_size * width * forward_flops(p, width)
    head = trainer.batch_size * rollout.max_tokens * 2.0 * p.head
    frozen = p.trainable < p.total
    update = layers * ((2 if frozen else 3) + trainer.gradient_checkpointing)
    update += head * (4 if p.trains_head else 3)
    sampling, training = hardware.sampling_mfu, hardware.training_mfu
    kind = engine_kind(cfg, machine)
    work = [("sampling", (layers + head) * (1 + trainer.dynamic_sampling), sampling)]
    if kind != "transformers" and trainer.importance_sampling != "none":
        work.append(("log-probabilities", layers + head, training))
    if trainer.kl_coef > 0:
        work.append(("reference model", layers + head, training))
    work.append(("update", update, training))
    rate = machine.gpus * machine.flops
    phases = [Phase(name, flops, flops / (rate * share)) for name, flops, share in work]
    return Hours(phases, trainer.steps, trainer.batch_size * rollout.max_tokens)


def forward_flops(p: Parameters, width: int) -> float:
    """Return the operations per token of a forward pass through the layers, averaged over the tokens."""
    return 2.0 * p.in_layers + 2.0 * p.layers * p.attention * width
