"""Advantage estimators, one function each.

TRL provides the reward minus its group mean (for ``grpo`` also divided by the group's standard deviation);
the functions here do the rest. Further estimators are functions in any module, named by their dotted path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch

from src.config.dotted import is_dotted, load

Reduce = Callable[[torch.Tensor], torch.Tensor]  # sums over processes
# centred rewards (B,), tokens that weigh (B,), counted trajectories in the group (B,), reduce -> (B,)
Advantage = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, Reduce], torch.Tensor]


def whiten(advantages: torch.Tensor, tokens: torch.Tensor, reduce: Reduce = lambda x: x) -> torch.Tensor:
    """Whiten per-trajectory advantages over the policy tokens of the whole batch.

    Every policy token has its trajectory's advantage, so mean and variance weight a trajectory by its
    number of policy tokens; observation tokens have no weight, unless ``trainer.whiten_over=response`` counts
    them in ``tokens``. REINFORCE++ (arXiv 2501.03262), section 3.

    Args:
        advantages: reward minus group mean, (B,).
        tokens: policy tokens of each trajectory, (B,).
        reduce: sums a tensor over processes.

    Returns:
        Whitened advantages, (B,); zero for trajectories without policy tokens, and all zero if all
        advantages are equal.
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
    """The paper's estimator: group mean as baseline, then whitening; its code whitens over other tokens.

    See :func:`whiten` and ``trainer.whiten_over``.
    """
    return whiten(centred, tokens, reduce)


def group_centered(
    centred: torch.Tensor, tokens: torch.Tensor, members: torch.Tensor, reduce: Reduce
) -> torch.Tensor:
    """``grpo`` (arXiv 2402.03300), already divided by the standard deviation, and ``dr_grpo``, undivided.

    Dr. GRPO is arXiv 2503.20783; its loss is ``trainer.loss_type=dr_grpo``.
    """
    return centred


def rloo(centred: torch.Tensor, tokens: torch.Tensor, members: torch.Tensor, reduce: Reduce) -> torch.Tensor:
    """Reward minus the mean of the rest of the group (arXiv 2402.14740, equation 9); 0 in groups of one."""
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
    """Return the estimator that ``trainer.advantage`` names, built in or by path. Raises ConfigError."""
    if is_dotted(name):
        found: Advantage = load("trainer.advantage", name)
        return found
    return ADVANTAGES[name]


def scale_rewards(advantage: str) -> str:
    """Return TRL's ``scale_rewards`` for an estimator."""
    return "group" if advantage == "grpo" else "none"


def group_sizes(counts: torch.Tensor, group: int) -> torch.Tensor:
    """Return, for each trajectory, the number of counted trajectories in its group.

    Args:
        counts: whether a trajectory counts, that is, was not lost to an infrastructure failure, (B,).
        group: trajectories per group; groups are contiguous.

    Raises:
        ValueError: B is not a multiple of ``group``.
    """
    if counts.numel() % group:
        raise ValueError(f"{counts.numel()} trajectories are not a multiple of the group size {group}")
    return counts.view(-1, group).sum(dim=1).repeat_interleave(group)
