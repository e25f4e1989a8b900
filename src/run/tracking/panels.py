"""Which metrics are shown together, and where: for W&B's workspaces and TensorBoard's custom scalars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

_STOPS = ("answered", "no_answer", "length", "budget", "void", "infrastructure")
CURVES = ("heldout/free", "heldout/code", "heldout/text")  # BENCHMARK/MODE


@dataclass(frozen=True)
class Panel:
    """Metrics of rollout steps in one chart.

    Attributes:
        title: of the chart.
        names: of the metrics, as in metrics.jsonl; those that a run does not have are not drawn.
        share: whether all values are between 0 and 1.
        parts: whether the metrics are parts of one whole.
    """

    title: str
    names: Sequence[str]
    share: bool = False
    parts: bool = False


TRAINING: Mapping[str, Sequence[Panel]] = MappingProxyType(
    {
        "progress": (
            Panel("reward", ["reward"]),
            Panel("accuracy in training", ["accuracy", "accuracy_lenient"], share=True),
            Panel("reward, deviation over trajectories", ["reward_std"]),
            Panel("groups without a signal", ["frac_reward_zero_std"], share=True),
            Panel(
                "why trajectories end",
                [f"stop/{one}" for one in _STOPS],
                parts=True,
            ),
        ),
        "policy": (
            Panel("entropy and KL, nats", ["entropy", "kl"]),
            Panel("tokens per trajectory", ["tokens/policy", "tokens/feedback"]),
            Panel("clipped tokens", [f"clip_ratio/{one}_mean" for one in ("low", "high", "region")]),
            Panel("gradient norm", ["grad_norm"]),
            Panel("loss", ["loss"]),
            Panel("learning rate", ["learning_rate"]),
        ),
        "tools": (
            Panel("executions per trajectory, and the budget", ["executions_per_trajectory", "budget"]),
            Panel("failing executions", ["execution_failure_rate"], share=True),
            Panel(
                "trajectories with code, at the budget",
                ["tool_use_rate", "budget_exhausted_rate"],
                share=True,
            ),
            Panel("accuracy after a failure", ["accuracy_after_failure"], share=True),
            Panel("fabricated output", ["fabricated_output_rate"], share=True),
            Panel("seconds of a program", [f"sandbox/p{one}_seconds" for one in (50, 95, 99)]),
        ),
        "speed": (
            Panel(
                "seconds of a step",
                [f"seconds/{one}" for one in ("generation", "execution", "grading", "update")],
                parts=True,
            ),
            Panel("tokens per second", ["engine/tokens_per_second"]),
            Panel("running sequences", ["engine/running_sequences"]),
        ),
    }
)
