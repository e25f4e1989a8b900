"""Trajectories in the form that TRL's ``rollout_func`` returns."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

from src.rollout.trajectory import StopReason, Trajectory


def to_trl(
    trajectories: Sequence[Trajectory],
    rewards: Sequence[float | None],
    *,
    mask_feedback: bool = True,
    exclude: Collection[StopReason] = (),
) -> dict[str, Any]:
    """Return prompt ids, completion ids, logprobs, loss masks and rewards, one of each per trajectory.

    A trajectory lost to an infrastructure failure gets a mask of zeros: it must count neither in the
    gradient nor in the number of tokens by which TRL divides (invariant 8).

    Args:
        trajectories: in the order of TRL's prompts.
        rewards: None excludes a trajectory from its group's mean.
        mask_feedback: False also trains on observation tokens, for the ablation. They were not sampled, so
            their logprobs are nan, which TRL treats as an importance ratio of 1.
        exclude: trajectories with one of these stop reasons also get a mask of zeros. Their rewards still
            count in the group mean, so that excluding void (SimpleTIR, arXiv 2509.02479) or overlong (DAPO,
            arXiv 2503.14476) trajectories does not change the advantages of the others.

    Raises:
        ValueError: ids, mask and logprobs of a trajectory differ in length, or it is empty. TRL
            would pad such a mask with ones and so train on observation tokens.
    """
    logprobs = [trajectory.logprobs for trajectory in trajectories]
    masks = []
    for index, (trajectory, values) in enumerate(zip(trajectories, logprobs, strict=True)):
        mask, length = trajectory.mask, len(trajectory.completion_ids)
        if not length or len(mask) != length or (values is not None and len(values) != length):
            raise ValueError(
                f"trajectory {index} (problem {trajectory.task.problem.id}) has {length} ids, "
                f"{len(mask)} mask entries and {len(values) if values is not None else 'no'} logprobs"
            )
        excluded = trajectory.stop_reason in (StopReason.INFRASTRUCTURE, *exclude)
        if not mask_feedback:
            if values is not None:
                logprobs[index] = [
                    x if sampled else math.nan for x, sampled in zip(values, mask, strict=True)
                ]
            mask = [1] * length
        masks.append([0] * length if excluded else mask)
    return {
        "prompt_ids": [trajectory.task.prompt_ids for trajectory in trajectories],
        "completion_ids": [trajectory.completion_ids for trajectory in trajectories],
        "logprobs": None if any(values is None for values in logprobs) else logprobs,
        "env_mask": masks,
        "reward": list(rewards),
    }
