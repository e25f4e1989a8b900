"""Our settings arrive at TRL under its names, also those of several processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from src.config import Config, TrainerConfig
from src.trainer.grpo_settings import grpo_config

CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"kl_coef": 0.01}, {"beta": 0.01}),
    ({"entropy_coef": 0.02}, {"entropy_coef": 0.02}),
    ({"clip_low": 0.1, "clip_high": 0.3}, {"epsilon": 0.1, "epsilon_high": 0.3}),
    ({"dual_clip": None}, {"delta": None}),
    ({"loss_type": "dr_grpo"}, {"loss_type": "dr_grpo"}),
    ({"advantage": "grpo"}, {"scale_rewards": "group"}),
    ({"advantage": "reinforce_plus_plus_baseline"}, {"scale_rewards": "none"}),
    ({"autocast": "bfloat16"}, {"bf16": True, "fp16": False}),
    ({"autocast": None}, {"bf16": False, "fp16": False}),
    ({"gradient_checkpointing": True}, {"gradient_checkpointing": True}),
    ({"rank_timeout": 90.0}, {"ddp_timeout": 90}),
    ({"steps": 7, "minibatches": 3, "batch_size": 96, "micro_batch_size": 16}, {"max_steps": 21}),
    ({"checkpoint_every": 5, "minibatches": 2}, {"save_steps": 10}),
]


@pytest.mark.parametrize(("ours", "theirs"), CASES)
def test_a_setting_arrives(ours: dict[str, Any], theirs: dict[str, Any], tmp_path: Path) -> None:
    base = {"batch_size": 64, "samples_per_prompt": 4, "micro_batch_size": 8}
    made = grpo_config(Config(trainer=TrainerConfig(**(base | ours))), tmp_path)
    assert {name: getattr(made, name) for name in theirs} == theirs


def test_the_reference_policy_has_the_policys_revision(tmp_path: Path) -> None:
    cfg = Config(trainer=TrainerConfig(kl_coef=0.1))
    assert grpo_config(cfg, tmp_path).model_init_kwargs is None
    cfg.model.revision = "abc"
    assert grpo_config(cfg, tmp_path).model_init_kwargs == {"revision": "abc"}
    cfg.trainer.kl_coef = 0.0
    assert grpo_config(cfg, tmp_path).model_init_kwargs is None


@pytest.mark.parametrize(("world", "per_generation", "accumulated"), [(1, 16, 8), (2, 8, 4), (8, 2, 1)])
def test_a_batch_is_shared_out(
    world: int, per_generation: int, accumulated: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """128 trajectories, two mini-batches, 8 a pass."""
    monkeypatch.setattr("src.trainer.grpo_settings.world_size", lambda: world)
    trainer = TrainerConfig(batch_size=128, samples_per_prompt=4, minibatches=2, micro_batch_size=8)
    made = grpo_config(Config(trainer=trainer), tmp_path)
    assert made.per_device_train_batch_size == 8
    assert (made.steps_per_generation, made.gradient_accumulation_steps) == (per_generation, accumulated)
