"""The arithmetic of the loss and of the reward, against independent versions that spell it out.

The loss is TRL's own, fed and configured by us: from our settings to the loss and its gradient, in float64,
on ragged batches with feedback. Advantages have a file of their own, tests/trainer/test_advantages.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from trl.trainer import grpo_trainer

from src.config import RewardConfig, TrainerConfig
from src.rewards import Outcome, compose
from src.trainer import CIRTrainer
from tests import tiny

ROWS, MICRO = 8, 2
PAPER: dict[str, Any] = {}
OTHERS = {"clip_low": 0.1, "clip_high": 0.4, "dual_clip": 2.0, "kl_coef": 0.05, "entropy_coef": 0.02}
OFF = {"clip_high": 0.2, "dual_clip": None}


@dataclass
class Rollout:
    """A rollout of eight rows of up to C tokens, whose logprobs are made up; (B, C) each.

    ::

        tokens   p p p f f p p . . .     p: the policy's, f: feedback, .: padding
        valid    1 1 1 1 1 1 1 0 0 0
        policy   1 1 1 0 0 1 1 0 0 0
    """

    valid: np.ndarray
    policy: np.ndarray
    logps: np.ndarray
    old: np.ndarray
    reference: np.ndarray
    entropies: np.ndarray
    advantages: np.ndarray  # (B,)

    def copy(self) -> Rollout:
        return Rollout(**{name: value.copy() for name, value in vars(self).items()})


def batch(seed: int) -> Rollout:
    """Row 0 has no policy token at all, as what was lost to the infrastructure."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 13, ROWS)
    valid = (np.arange(lengths.max()) < lengths[:, None]).astype(int)
    policy = valid * (random.random(valid.shape) < 0.7)
    policy[0] = 0
    policy[1, 0] = 1
    logps = random.uniform(-6, -0.1, valid.shape)
    old, reference = (logps + random.normal(0, 0.8, valid.shape) for _ in range(2))
    entropies = random.uniform(0, 4, valid.shape)
    advantages = random.normal(0, 1, ROWS) * (random.random(ROWS) < 0.9)
    return Rollout(valid, policy, logps, old, reference, entropies, advantages)


def of_trainer(trainer: CIRTrainer, batch: Rollout) -> tuple[float, np.ndarray]:
    """The loss of all micro-batches of a rollout, and its gradient by each logprob, (B, C)."""
    logps = torch.tensor(batch.logps, requires_grad=True)
    prompts = torch.ones(ROWS, 3, dtype=torch.long)
    whole = {
        "prompt_ids": prompts,
        "prompt_mask": prompts,
        "completion_ids": torch.ones(batch.valid.shape, dtype=torch.long),
        "completion_mask": torch.tensor(batch.valid),
        "tool_mask": torch.tensor(batch.policy),
        "advantages": torch.tensor(batch.advantages),
        "old_per_token_logps": torch.tensor(batch.old),
        "ref_per_token_logps": torch.tensor(batch.reference),
    }
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    total = torch.zeros((), dtype=torch.float64)
    for start in range(0, ROWS, MICRO):
        rows = slice(start, start + MICRO)

        def told(
            model: Any, ids: torch.Tensor, mask: torch.Tensor, keep: int, rows: slice = rows, **_: Any
        ) -> Any:
            return logps[rows, :keep], torch.tensor(batch.entropies[rows, :keep]), None

        trainer._get_per_token_logps_and_entropies = told  # type: ignore[method-assign]
        inputs: dict[str, Any] = {name: value[rows] for name, value in whole.items()}
        inputs["num_items_in_batch"] = torch.tensor(batch.policy.sum())
        total = total + trainer.compute_loss(trainer.model, inputs)
    total.backward()
    assert logps.grad is not None
    return total.item(), logps.grad.numpy()


def of_token(logp: float, old: float, reference: float, advantage: float, cfg: TrainerConfig) -> float:
    """PPO's clipped objective with its two bounds apart (clip-higher, DAPO), a bound for what an advantage
    below zero can cost (dual clip, arXiv 1912.09729), and Schulman's third estimator of the divergence, which
    TRL weighs by the ratio (arXiv 2512.02556) unless it is told not to."""
    ratio = math.exp(logp - old)
    if advantage > 0:
        gain = min(ratio, 1 + cfg.clip_high) * advantage
    else:
        gain = min(max(ratio, 1 - cfg.clip_low), cfg.dual_clip or math.inf) * advantage
    apart = reference - logp
    return -gain + cfg.kl_coef * ratio * (math.exp(apart) - 1 - apart)


def spelt_out(batch: Rollout, cfg: TrainerConfig, max_tokens: int) -> float:
    """Sum of the losses of a rollout's optimizer steps."""
    losses = [
        [
            of_token(batch.logps[row, t], batch.old[row, t], batch.reference[row, t], advantage, cfg)
            for t in np.flatnonzero(batch.policy[row])
        ]
        for row, advantage in enumerate(batch.advantages)
    ]
    steps = np.arange(ROWS).reshape(cfg.minibatches, -1, MICRO)  # optimizer step, micro-batch, row

    def mean(values: list[float]) -> float:
        return float(np.mean(values)) if len(values) else 0.0

    def pooled(rows: np.ndarray) -> list[float]:
        return [loss for row in rows.ravel() for loss in losses[row]]

    tokens = batch.policy.sum() / cfg.minibatches  # of an optimizer step, on average
    total = 0.0
    for step in steps:
        total += {
            "dapo": lambda step: sum(pooled(step)) / tokens,
            "grpo": lambda step: mean([mean(losses[row]) for row in step.ravel()]),
            "bnpo": lambda step: mean([mean(pooled(micro)) for micro in step]),
            "dr_grpo": lambda step: mean([sum(losses[row]) / max_tokens for row in step.ravel()]),
        }[cfg.loss_type](step)
        entropies = [batch.entropies[micro][batch.policy[micro] == 1].tolist() for micro in step]
        total -= cfg.entropy_coef * mean([mean(values) for values in entropies])
    return total


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., CIRTrainer]:
    """A trainer with these settings; its reference policy, if there is one, is never asked."""
    monkeypatch.setattr(grpo_trainer, "create_model_from_path", lambda *_, **__: tiny.model())

    def build(**options: Any) -> CIRTrainer:
        return tiny.trainer(tiny.config(micro_batch_size=MICRO, **options), tmp_path)

    return build


@pytest.mark.parametrize("options", [PAPER, OTHERS, OFF], ids=["paper", "others", "off"])
@pytest.mark.parametrize("minibatches", [1, 2])
@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "bnpo", "dr_grpo"])
def test_the_loss_and_its_gradient_are_those_spelt_out(
    build: Callable[..., CIRTrainer], loss_type: str, minibatches: int, options: dict[str, Any]
) -> None:
    trainer = build(loss_type=loss_type, minibatches=minibatches, **options)
    cfg, most = trainer._cfg.trainer, trainer._cfg.rollout.max_tokens
    for seed in range(5):
        made = batch(seed)
        loss, gradient = of_trainer(trainer, made)
        assert loss == pytest.approx(spelt_out(made, cfg, most), abs=1e-9)
        for row, token in np.argwhere(made.policy)[:: 1 + seed]:
            sides = []
            for step in (1e-6, -1e-6):
                moved = made.copy()
                moved.logps[row, token] += step
                sides.append(spelt_out(moved, cfg, most))
            slope = (sides[0] - sides[1]) / 2e-6
            assert gradient[row, token] == pytest.approx(slope, abs=1e-6), f"seed {seed}, {row}, {token}"


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "moves"),
    [
        (1.0, 2.0, -2.0, True),
        (1.25, 1.0, -1.25, True),  # beyond 1.2: clip-higher
        (2.0, 1.0, -1.28, False),
        (0.5, 1.0, -0.5, True),
        (0.5, -1.0, 0.8, False),
        (2.0, -1.0, 2.0, True),
        (5.0, -1.0, 3.0, False),  # dual clip
    ],
)
def test_values_checked_by_hand(
    build: Callable[..., CIRTrainer], ratio: float, advantage: float, loss: float, moves: bool
) -> None:
    """The paper's settings; the only policy token of the rollout, so that the mean is its own loss."""
    made = batch(0)
    made.policy[:] = 0
    made.policy[1, 0] = 1
    made.old[1, 0] = made.logps[1, 0] - math.log(ratio)
    made.advantages[1] = advantage
    total, gradient = of_trainer(build(minibatches=1), made)
    assert total == pytest.approx(loss, abs=1e-12)
    assert gradient[1, 0] == pytest.approx(-ratio * advantage if moves else 0.0, abs=1e-12)


@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "bnpo", "dr_grpo"])
def test_whatever_feedback_and_padding_would_have_been_changes_nothing(
    build: Callable[..., CIRTrainer], loss_type: str
) -> None:
    """Not by one bit, with every term of the loss switched on."""
    trainer = build(loss_type=loss_type, **OTHERS)
    for seed in range(5):
        made = batch(seed)
        other, random = made.copy(), np.random.default_rng(100 + seed)
        unsampled = made.policy == 0
        for values in (other.logps, other.old, other.reference, other.entropies):
            values[unsampled] = random.uniform(-9, 0, unsampled.sum())
        loss, gradient = of_trainer(trainer, made)
        changed, moved = of_trainer(trainer, other)
        assert loss == changed
        assert (gradient == moved).all()
        assert (gradient[unsampled] == 0).all()
        assert (gradient[(made.policy == 1) & (made.advantages != 0)[:, None]] != 0).any()


def test_other_feedback_as_target_changes_no_gradient_of_a_parameter(tmp_path: Path) -> None:
    """The same contexts through the model, with other ids where feedback would have to be predicted."""
    trainer = tiny.trainer(tiny.config(entropy_coef=0.1), tmp_path)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    inputs = trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))
    feedback = (inputs["completion_mask"] == 1) & (inputs["tool_mask"] == 0)
    policy = (inputs["completion_mask"] * inputs["tool_mask"]) == 1

    def gradients(changed: torch.Tensor) -> list[torch.Tensor]:
        def model(labels: torch.Tensor, **passed: Any) -> Any:
            labels = labels.clone()
            completion = labels[:, -changed.shape[1] :]
            completion[changed] = (completion[changed] + 1) % len(trainer.processing_class)
            return trainer.model(labels=labels, **passed)

        trainer.model.zero_grad()
        trainer.compute_loss(model, inputs).backward()
        return [p.grad.clone() for p in trainer.model.parameters() if p.grad is not None]

    assert feedback.any()
    untouched, moved = gradients(feedback & False), gradients(feedback)
    assert all(torch.equal(*pair) for pair in zip(untouched, moved, strict=True))
    assert not all(torch.equal(*pair) for pair in zip(untouched, gradients(policy), strict=True))


weights = st.one_of(st.just(0.0), st.floats(0, 3))


@settings(max_examples=200)
@given(
    cfg=st.builds(
        RewardConfig,
        correct=st.floats(-2, 2),
        wrong=st.floats(-2, 2),
        executability=weights,
        answered=weights,
        tool_cost=weights,
        overlong=weights,
        overlong_tokens=st.integers(1, 500),
    ),
    outcomes=st.lists(
        st.builds(
            Outcome,
            correct=st.booleans(),
            answer=st.sampled_from([None, "5"]),
            policy_texts=st.just(("x",)),
            statuses=st.lists(st.sampled_from(["ok", "error", "timeout", "memory", "killed"])).map(tuple),
            stop_reason=st.just("answered"),
            tokens=st.integers(1, 700),  # none has more than 600; the penalty has a bound of its own
            max_tokens=st.just(600),
        ),
        min_size=1,
    ),
)
def test_rewards_are_those_of_whole_columns(cfg: RewardConfig, outcomes: list[Outcome]) -> None:
    correct = np.array([one.correct for one in outcomes])
    executions = np.array([len(one.statuses) for one in outcomes])
    failures = np.array([len(one.statuses) - one.statuses.count("ok") for one in outcomes])
    answered = np.array([one.answer is not None for one in outcomes])
    left = np.array([600 - one.tokens for one in outcomes])
    expected = np.where(correct, cfg.correct, cfg.wrong) - cfg.executability * (failures > 0)
    expected += cfg.answered * answered - cfg.tool_cost * np.where(correct, executions, 0)
    expected -= cfg.overlong * np.clip(1 - left / cfg.overlong_tokens, 0, 1)
    assert [compose(one, cfg).total for one in outcomes] == pytest.approx(expected.tolist(), abs=1e-9)
