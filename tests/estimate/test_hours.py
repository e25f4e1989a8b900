"""Operations, counted by torch; and what becomes of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from src.config import Config, LoRAConfig, ModelConfig
from src.estimate.hours import Hours, count_hours, forward_flops
from src.estimate.machine import Machine
from src.estimate.policy import count
from tests.estimate.models import SMALL, config, folder, real

MACHINE = Machine("GPU", gpu=True, gpus=4, memory=int(80e9), flops=1e15, timed=False)
ROWS, WIDTH = 3, 120


def counted(model: Any, checkpointing: bool) -> tuple[float, float]:
    """Operations of the layers there, and there and back."""
    ids = torch.randint(0, 500, (ROWS, WIDTH))
    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    backbone = model.get_base_model().model if hasattr(model, "get_base_model") else model.model
    with FlopCounterMode(display=False) as counter:
        hidden = backbone(input_ids=ids, use_cache=False).last_hidden_state
        there = counter.get_total_flops()
        hidden.sum().backward()
    return there, counter.get_total_flops()


def seconds(hours: Hours) -> dict[str, float]:
    return {phase.name: phase.seconds for phase in hours.phases}


def flops(cfg: Config) -> dict[str, float]:
    p = count(SMALL["qwen2"], cfg.model)
    return {phase.name: phase.flops for phase in count_hours(cfg, MACHINE, p).phases}


@pytest.fixture
def cfg(tmp_path: Path) -> Config:
    return config(folder(SMALL["qwen2"], tmp_path), engine__kind="vllm", rollout__max_tokens=400)


@pytest.mark.parametrize("name", SMALL)
def test_a_way_through_the_layers(name: str) -> None:
    """Torch counts attention to later tokens too, which no kernel computes."""
    p = count(SMALL[name], ModelConfig())
    model = real(SMALL[name], ModelConfig())
    model.set_attn_implementation("eager")
    there, _ = counted(model, checkpointing=False)
    attention = 2.0 * p.layers * p.attention * WIDTH
    assert ROWS * WIDTH * (forward_flops(p, WIDTH) + attention) == pytest.approx(there, rel=0.01)


@pytest.mark.parametrize(
    ("lora", "checkpointing", "ways"),
    [
        (LoRAConfig(), False, 3),
        (LoRAConfig(), True, 4),
        (LoRAConfig(rank=1), False, 2),
        (LoRAConfig(rank=1), True, 3),
    ],
    ids=["6N", "8N", "frozen 4N", "frozen 6N"],
)
def test_the_way_back_costs_as_many_ways_as_torch_counts(
    lora: LoRAConfig, checkpointing: bool, ways: int, cfg: Config
) -> None:
    """Of frozen weights the gradients of the first layer's inputs are not needed either."""
    cfg.model.lora, cfg.trainer.gradient_checkpointing = lora, checkpointing
    there, both = counted(real(SMALL["qwen2"], cfg.model), checkpointing)
    assert both / there == pytest.approx(ways, rel=0.12)
    p = count(SMALL["qwen2"], cfg.model)
    tokens = cfg.trainer.batch_size * cfg.rollout.max_tokens
    layers = cfg.trainer.batch_size * 1424 * forward_flops(p, 1424)
    head = tokens * p.head * 2 * (4 if p.trains_head else 3)
    assert flops(cfg)["update"] == pytest.approx(ways * layers + head)


def test_the_phases_of_a_step(cfg: Config) -> None:
    assert list(flops(cfg)) == ["sampling", "log-probabilities", "update"]
    cfg.trainer.kl_coef = 0.1
    assert list(flops(cfg)) == ["sampling", "log-probabilities", "reference model", "update"]
    cfg.trainer.importance_sampling, cfg.trainer.kl_coef = "none", 0.0
    assert list(flops(cfg)) == ["sampling", "update"]
    cfg.engine.kind = "transformers"
    once = flops(cfg)["sampling"]
    cfg.trainer.dynamic_sampling = 2
    assert flops(cfg)["sampling"] == 3 * once


def test_hours_follow_from_rate_and_mfu(cfg: Config) -> None:
    p = count(SMALL["qwen2"], cfg.model)
    cfg.hardware.training_mfu, cfg.hardware.sampling_mfu = 0.5, 0.1
    hours = count_hours(cfg, MACHINE, p)
    for phase, share in zip(hours.phases, (0.1, 0.5, 0.5), strict=True):
        assert phase.seconds == pytest.approx(phase.flops / (4e15 * share))
    assert hours.total == pytest.approx(300 * sum(seconds(hours).values()) / 3600)
    assert hours.tokens == 2048 * 400
    assert count_hours(cfg, replace(MACHINE, gpus=8), p).total == pytest.approx(hours.total / 2)
