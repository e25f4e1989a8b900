"""Are the trajectories of two engines the same, up to numerical ties?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from src.rollout.trajectory import Author, Trajectory

TIE = 1e-4  # two best logits that are closer than this: either may be taken


@dataclass(frozen=True)
class Tie:
    """Where greedy engines part because two tokens are equally likely; ``gap`` is in logits."""

    problem: str
    position: int
    gap: float


def shape(trajectory: Trajectory) -> tuple[object, ...]:
    """Everything that engines must agree on."""
    statuses = [str(execution.result.status) for execution in trajectory.executions]
    return trajectory.completion_ids, trajectory.mask, str(trajectory.stop_reason), statuses


@torch.no_grad()
def ties(
    model: PreTrainedModel, ours: Sequence[Trajectory], theirs: Sequence[Trajectory]
) -> tuple[list[Tie], list[str]]:
    """Compare trajectory by trajectory; return the ties, and what differs for another reason."""
    found, faults = [], []
    for one, other in zip(ours, theirs, strict=True):
        assert one.task.problem.id == other.task.problem.id
        if shape(one) == shape(other):
            continue
        pair = (one.completion_ids, other.completion_ids)
        position = next((i for i, (a, b) in enumerate(zip(*pair, strict=False)) if a != b), None)
        if position is None or not one.mask[position] or not other.mask[position]:
            faults.append(f"{one.task.problem.id}: {shape(one)} is not {shape(other)}")
            continue
        context = torch.tensor([one.task.prompt_ids + pair[0][:position]])
        logits = model(context).logits[0, -1]
        best = logits.topk(2)
        gap = float(best.values[0] - best.values[1])
        if gap < TIE and {pair[0][position], pair[1][position]} == set(best.indices.tolist()):
            found.append(Tie(one.task.problem.id, position, gap))
        else:
            faults.append(f"{one.task.problem.id}: parts at {position} with a gap of {gap}")
    return found, faults


def policy_tokens(trajectories: Sequence[Trajectory]) -> int:
    """Number of sampled tokens."""
    return sum(trajectory.tokens(Author.POLICY) for trajectory in trajectories)
