"""The arithmetic of advantages, against independent NumPy versions, and what TRL makes of them."""

from __future__ import annotations

import zlib
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from src.config import RewardConfig
from src.rewards import Outcome
from src.sandbox import ExecutionResult, Status
from src.trainer.advantages import ADVANTAGES, group_sizes, scale_rewards, whiten
from src.trainer.grpo_settings import grpo_config
from tests import tiny
from tests.fakes import FakeSandbox

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
    members = group_sizes(torch.from_numpy(counts), GROUP)
    values = torch.from_numpy(centred(rewards))
    return ADVANTAGES[name](values, torch.from_numpy(tokens), members, lambda x: x).numpy()


@settings(max_examples=200)
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


@settings(max_examples=200)
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


def test_without_a_policy_token_there_is_no_advantage() -> None:
    assert whiten(torch.tensor([1.0, -1.0]), torch.tensor([0, 0])).tolist() == [0, 0]
    assert whiten(torch.tensor([1.0, -1.0]), torch.tensor([1, 0])).tolist() == [0, 0], "or of one alone"


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


@pytest.mark.parametrize(
    ("name", "over"),
    [*((name, "policy") for name in ADVANTAGES), ("reinforce_plus_plus_baseline", "response")],
)
def test_what_reaches_the_loss_is_made_of_the_rewards_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, over: str
) -> None:
    """Whole rollouts: rewards of four values, ragged, with feedback, some lost to the infrastructure."""

    def term(outcome: Outcome, cfg: RewardConfig) -> float:
        return zlib.crc32("".join(outcome.policy_texts).encode()) % 4 / 2 - 1

    monkeypatch.setattr(import_module("src.rewards.compose"), "TERMS", {"term": term})
    lost = feedback = 0
    for seed in range(4):
        random = np.random.default_rng(seed)

        def reply(code: str, random: np.random.Generator = random) -> ExecutionResult:
            status = Status.INFRASTRUCTURE if random.random() < 0.2 else Status.OK
            return ExecutionResult(status, "1", None, 0.0)

        cfg = tiny.config(advantage=name, whiten_over=over, seed=seed, max_infrastructure_failure_rate=1.0)
        trainer = tiny.trainer(cfg, tmp_path / str(seed), sandbox=FakeSandbox(reply))
        trainer.model.train()
        output = trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))
        rewards = np.array(trainer.step.collected.rewards, dtype=float)  # nan: lost
        counts = ~np.isnan(rewards)
        lost += (~counts).sum()
        masks = [t.mask for t in trainer.step.collected.trajectories]
        tokens = np.array([sum(mask) if over == "policy" else len(mask) for mask in masks]) * counts
        feedback += sum(len(mask) - sum(mask) for mask in masks)
        groups = rewards.reshape(-1, GROUP)
        expected = centred(rewards)
        if name == "grpo":
            expected = expected / (np.repeat(np.nanstd(groups, axis=1, ddof=1), GROUP) + 1e-4)
        if name == "rloo":
            members = np.repeat(counts.reshape(-1, GROUP).sum(axis=1), GROUP)
            expected = expected * members / (members - 1)
        if name == "reinforce_plus_plus_baseline":
            spelt = np.repeat(expected, tokens)
            white = (expected - spelt.mean()) / np.sqrt(spelt.var(ddof=1) + 1e-8)
            expected = np.where(counts, white, 0.0)
        assert output["advantages"].numpy() == pytest.approx(expected, abs=1e-6)
    assert lost > 2
    assert feedback > 0, "the two kinds of whitening differ"


def test_broken_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="6 trajectories are not a multiple of the group size 4"):
        group_sizes(torch.ones(6), 4)
