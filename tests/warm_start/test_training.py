"""The training loop and the whole warm start, small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from src.config import WarmStartConfig
from src.warm_start.make import make_base
from src.warm_start.policy import build_model, build_tokenizer
from src.warm_start.training import rate_factor, train
from tests.fakes import a_format

TINY = WarmStartConfig(
    tokenizer_samples=200,
    hidden_size=32,
    layers=2,
    heads=2,
    kv_heads=1,
    head_dim=16,
    intermediate_size=64,
    steps=10,
    batch_size=8,
    warmup_steps=2,
    learning_rate=1e-2,
    heldout_size=3,
)


def test_the_rate_warms_up_and_falls_to_zero() -> None:
    factors = [rate_factor(step, 100, 10) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0.0)
    assert factors[10:] == sorted(factors[10:], reverse=True)


def test_training_learns_and_is_repeatable() -> None:
    tokenizer = build_tokenizer(TINY, a_format())
    losses, weights = [], []
    for _ in range(2):
        torch.manual_seed(TINY.seed)
        model = build_model(TINY, tokenizer)
        losses.append(train(TINY, a_format(), model, tokenizer))
        weights.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert losses[0] == losses[1] < 6.0  # log(512) is 6.24
    assert not model.training


def test_the_whole_warm_start(tmp_path: Path) -> None:
    cfg = WarmStartConfig(**(TINY.__dict__ | {"output": str(tmp_path / "base"), "steps": 2}))
    make_base(cfg, tmp_path)
    base = tmp_path / "base"
    model = AutoModelForCausalLM.from_pretrained(base)
    assert len(AutoTokenizer.from_pretrained(base)) == model.config.vocab_size == cfg.vocab_size
    summary = json.loads((base / "summary.json").read_text())
    assert summary["settings"]["steps"] == 2
    assert {mode: result["n"] for mode, result in summary["base"].items()} == {
        "free": 3,
        "code": 3,
        "text": 3,
    }
    readme = (base / "README.md").read_text()
    assert "python -m src.warm_start" in readme
    assert "| Geometry |" in readme
    assert len((tmp_path / "trajectories.jsonl").read_text().splitlines()) == 9
