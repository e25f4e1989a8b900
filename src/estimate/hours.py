"""How long a run takes if every trajectory has the greatest length: model FLOPs over what GPUs do.

A pass multiplies each token by every weight once: 2 operations, and twice as many on the way back, half of
them for the gradients of the weights (so none of these where they are frozen). Attention to the tokens
before it adds 2 x layers x width of all heads x length on average. Gradient checkpointing repeats the way
there through the layers; TRL's output head repeats it always. Of a mixture of experts all are counted.
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
        name: for people.
        flops: of all GPUs.
        seconds: that it takes.
    """

    name: str
    flops: float
    seconds: float


@dataclass(frozen=True)
class Hours:
    """What a rollout step is made of, and how many there are."""

    phases: list[Phase]
    steps: int
    tokens: int  # of a rollout step at most, feedback included and prompts not

    @property
    def step(self) -> float:
        """Seconds of a rollout step."""
        return sum(phase.seconds for phase in self.phases)

    @property
    def total(self) -> float:
        """Hours of all steps."""
        return self.steps * self.step / 3600


def count_hours(cfg: Config, machine: Machine, p: Parameters) -> Hours:
    """Return the time of a run, but for evaluations, executions and grading."""
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
    """Return the operations per token, averaged over ``width`` of them, of a way through the layers."""
    return 2.0 * p.in_layers + 2.0 * p.layers * p.attention * width
