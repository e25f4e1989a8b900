"""What TRL is handed."""

from __future__ import annotations

import math

import pytest

from src.rollout.adapter import to_trl
from src.rollout.trajectory import Author, Segment, StopReason, Task, Trajectory
from tests.fakes import problem


def trajectory(reason: StopReason = StopReason.ANSWERED, logprobs: list[float] | None = None) -> Trajectory:
    return Trajectory(
        Task(problem(), "free", 0, [1, 2], 2),
        [
            Segment(Author.POLICY, [3, 4], "ab", logprobs),
            Segment(Author.TOOL, [5], "c"),
            Segment(Author.POLICY, [6], "d", logprobs[:1] if logprobs else None),
        ],
        stop_reason=reason,
    )


def test_ids_masks_and_rewards() -> None:
    both = [trajectory(), trajectory(StopReason.INFRASTRUCTURE)]
    assert to_trl(both, [1.0, None]) == {
        "prompt_ids": [[1, 2], [1, 2]],
        "completion_ids": [[3, 4, 5, 6], [3, 4, 5, 6]],
        "logprobs": None,
        "env_mask": [[1, 1, 0, 1], [0, 0, 0, 0]],
        "reward": [1.0, None],
    }


def test_logprobs_cover_feedback_with_zeros() -> None:
    assert to_trl([trajectory(logprobs=[-1.0, -2.0])], [1.0])["logprobs"] == [[-1.0, -2.0, 0.0, -1.0]]


def test_without_masking_feedback_is_trained_on_at_a_ratio_that_is_unknown() -> None:
    """The ablation: TRL takes nan for an importance ratio of 1. What the infrastructure spoilt stays out."""
    both = [trajectory(logprobs=[-1.0, -2.0]), trajectory(StopReason.INFRASTRUCTURE, [-1.0, -2.0])]
    handed = to_trl(both, [1.0, None], mask_feedback=False)
    assert handed["env_mask"] == [[1, 1, 1, 1], [0, 0, 0, 0]]
    for logprobs in handed["logprobs"]:
        assert logprobs[:2] == [-1.0, -2.0]
        assert math.isnan(logprobs[2])
        assert logprobs[3] == -1.0
    assert to_trl([trajectory()], [1.0], mask_feedback=False)["logprobs"] is None


def test_trajectories_that_ended_so_are_left_out_and_keep_their_reward() -> None:
    ends = [StopReason.ANSWERED, StopReason.VOID, StopReason.LENGTH, StopReason.INFRASTRUCTURE]
    handed = to_trl([trajectory(end) for end in ends], [1.0, -1.0, -1.0, None], exclude=[StopReason.VOID])
    assert [sum(mask) for mask in handed["env_mask"]] == [3, 0, 3, 0]
    assert handed["reward"] == [1.0, -1.0, -1.0, None]


def test_what_trl_would_pad_in_silence_is_refused() -> None:
    broken = trajectory(logprobs=[-1.0])
    with pytest.raises(ValueError, match="4 ids, 4 mask entries and 3 logprobs"):
        to_trl([broken], [1.0])
    with pytest.raises(ValueError, match="0 ids"):
        to_trl([Trajectory(broken.task)], [1.0])
