"""The arithmetic of advantages, against independent NumPy versions, and what TRL makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from src.advantages import ADVANTAGES, group_members, scale_rewards
from src.grpo_settings import grpo_config
from tests import tiny

GROUP = 4


@st.composite
def batches(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rewards with some that do not count (nan), and ragged numbers of policy tokens."""
    size = GROUP * draw(st.integers(1, 4))
    rewards = np.array(draw(st.lists(st.sampled_from([-1.0, 1.0, 0.5]), min_size=size, max_size=size)))
    spoilt = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    spoilt[::GROUP] = False  # somebody is left in each group
    tokens = np.array(draw(st.lists(st.integers(1, 50), min_size=size, max_size=size)))
    return np.where(spoilt, np.nan, rewards), np.where(spoilt, 0, tokens), ~spoilt


def centred(rewards: np.ndarray) -> np.ndarray:
    groups = rewards.reshape(-1, GROUP)
    return np.nan_to_num(groups - np.nanmean(groups, axis=1, keepdims=True)).ravel()


def ours(name: str, rewards: np.ndarray, tokens: np.ndarray, counts: np.ndarray) -> np.ndarray:
    members = group_members(torch.from_numpy(counts), GROUP)
    values = torch.from_numpy(centred(rewards))
    return ADVANTAGES[name](values, torch.from_numpy(tokens), members, lambda x: x).numpy()


@settings(max_examples=200, deadline=None)
@given(batches())
def test_rloo_is_the_reward_minus_the_mean_of_the_others(
    batch: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    rewards, tokens, counts = batch
    expected = []
    for start in range(0, len(rewards), GROUP):
        group = rewards[start : start + GROUP]
        for index, reward in enumerate(group):
            others = [x for j, x in enumerate(group) if j != index and not np.isnan(x)]
            expected.append(0.0 if np.isnan(reward) or not others else reward - np.mean(others))
    assert ours("rloo", rewards, tokens, counts) == pytest.approx(expected, abs=1e-6)


@settings(max_examples=200, deadline=None)
@given(batches())
def test_reinforce_plus_plus_baseline_whitens_token_by_token(
    batch: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    rewards, tokens, counts = batch
    values = np.repeat(centred(rewards), tokens)
    white = (values - values.mean()) / np.sqrt(values.var(ddof=1) + 1e-8) if values.size > 1 else values * 0
    found = ours("reinforce_plus_plus_baseline", rewards, tokens, counts)
    assert np.repeat(found, tokens) == pytest.approx(white, abs=1e-6)
    assert (found[tokens == 0] == 0).all()


@given(batches())
def test_the_others_are_what_trl_hands_over(batch: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    rewards, tokens, counts = batch
    for name in ("grpo", "dr_grpo"):
        assert (ours(name, rewards, tokens, counts) == centred(rewards)).all()


def test_trl_divides_by_the_groups_deviation_for_grpo_only(tmp_path: Path) -> None:
    for name in ADVANTAGES:
        cfg = tiny.config(advantage=name, loss_type="dr_grpo" if name == "dr_grpo" else "dapo")
        theirs = grpo_config(cfg, tmp_path)
        assert theirs.scale_rewards == scale_rewards(name) == ("group" if name == "grpo" else "none")
        assert theirs.loss_type == cfg.trainer.loss_type


@pytest.mark.parametrize("name", ADVANTAGES)
def test_every_advantage_trains(tmp_path: Path, name: str) -> None:
    """A step of the whole trainer; the advantages that reach the loss are those of the rewards."""
    trainer = tiny.trainer(tiny.config(steps=1, minibatches=1, advantage=name), tmp_path)
    seen: list[torch.Tensor] = []
    score = trainer._generate_and_score_completions

    def keeping(inputs: list[dict[str, object]]) -> dict[str, object]:
        output = score(inputs)
        seen.append(output["advantages"])
        return output

    trainer._generate_and_score_completions = keeping  # type: ignore[method-assign]
    trainer.train()
    assert trainer.collected is not None
    rewards = np.array(trainer.collected.rewards, dtype=float)
    tokens = np.array([sum(t.mask) for t in trainer.collected.trajectories])
    values = centred(rewards)
    if name == "grpo":
        groups = rewards.reshape(-1, GROUP)
        values = values / (np.repeat(groups.std(axis=1, ddof=1), GROUP) + 1e-4)
    if name == "rloo":
        values = values * GROUP / (GROUP - 1)
    if name == "reinforce_plus_plus_baseline":
        values = ours(name, rewards, tokens, np.ones(len(rewards), dtype=bool))
    assert seen[0].numpy() == pytest.approx(values, abs=1e-5)


def test_broken_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="6 trajectories are no whole groups of 4"):
        group_members(torch.ones(6), 4)
