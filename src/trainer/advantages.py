"""Advantages: how much better a trajectory's reward is than that of others. One function each.

TRL hands over the reward minus the mean of its group (for ``grpo`` divided by the group's deviation, too);
what a method does beyond that happens here. A new one is a function
anywhere, named by its dotted path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch

from src.config.dotted import is_dotted, load

Reduce = Callable[[torch.Tensor], torch.Tensor]  # sums over processes
# centred rewards (B,), policy tokens (B,), trajectories in the group that count (B,), reduce -> (B,)
Advantage = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, Reduce], torch.Tensor]


def whiten(advantages: torch.Tensor, tokens: torch.Tensor, reduce: Reduce = lambda x: x) -> torch.Tensor:
    """Whiten per-trajectory advantages over the policy tokens of the whole batch.

    Every policy token carries its trajectory's advantage, so mean and variance weigh a trajectory
    by its number of policy tokens; feedback has no weight. REINFORCE++ (arXiv 2501.03262), section 3.

    Args:
        advantages: reward minus group mean, (B,).
        tokens: policy tokens of each trajectory, (B,).
        reduce: sums a tensor over processes.

    Returns:
        Whitened advantages, (B,); zeros where a trajectory has no policy token, and everywhere if
        all advantages are equal.
    """
    weights = tokens.to(torch.float64)
    values = advantages.to(torch.float64)
    count, total = reduce(torch.stack([weights.sum(), (weights * values).sum()]))
    mean = total / count.clamp(min=1)
    squares = reduce((weights * (values - mean) ** 2).sum())
    variance = squares / (count - 1).clamp(min=1)
    white = (values - mean) * torch.rsqrt(variance + 1e-8)
    return torch.where(weights > 0, white, 0.0).to(advantages.dtype)


def reinforce_plus_plus_baseline(
    centred: torch.Tensor, tokens: torch.Tensor, members: torch.Tensor, reduce: Reduce
) -> torch.Tensor:
    """The paper's: group mean as the baseline, then whitening over the batch; see :func:`whiten`."""
    return whiten(centred, tokens, reduce)


def group_centered(
    centred: torch.Tensor, tokens: torch.Tensor, members: torch.Tensor, reduce: Reduce
) -> torch.Tensor:
    """``grpo`` (arXiv 2402.03300): TRL has divided by the group's deviation. ``dr_grpo``: nothing is divided.

    Dr. GRPO is arXiv 2503.20783; its loss is ``trainer.loss_type=dr_grpo``.
    """
    return centred


def rloo(centred: torch.Tensor, tokens: torch.Tensor, members: torch.Tensor, reduce: Reduce) -> torch.Tensor:
    """Reward minus the mean of the others in the group (arXiv 2402.14740, equation 9); 0 for who is alone."""
    others = (members - 1).clamp(min=1)
    return torch.where(members > 1, centred * members / others, 0.0).to(centred.dtype)


ADVANTAGES: Mapping[str, Advantage] = MappingProxyType(
    {
        "reinforce_plus_plus_baseline": reinforce_plus_plus_baseline,
        "grpo": group_centered,
        "dr_grpo": group_centered,
        "rloo": rloo,
    }
)


def build_advantage(name: str) -> Advantage:
    """Return what ``trainer.advantage`` names; a function of one's own by its path. Raises ConfigError."""
    if is_dotted(name):
        found: Advantage = load("trainer.advantage", name)
        return found
    return ADVANTAGES[name]


def scale_rewards(advantage: str) -> str:
    """Return TRL's ``scale_rewards`` for an advantage."""
    return "group" if advantage == "grpo" else "none"


def group_sizes(counts: torch.Tensor, group: int) -> torch.Tensor:
    """Return, for each trajectory, how many of its group count.

    Args:
        counts: whether a trajectory counts, that is, the infrastructure did not spoil it, (B,).
        group: trajectories of one problem; they follow one another.

    Raises:
        ValueError: B is no multiple of ``group``.
    """
    if counts.numel() % group:
        raise ValueError(f"{counts.numel()} trajectories are no whole groups of {group}")
    return counts.view(-1, group).sum(dim=1).repeat_interleave(group)
