"""``estimate=true`` as a whole: the machine, the verdict, what is advised, and the exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from transformers import Gemma2Config, Qwen2Config

from src.config import Config, HardwareConfig
from src.config.paths import ROOT
from src.config.schema import ConfigError
from src.estimate import DOES_NOT_FIT, FILE, estimate, run
from src.estimate.advice import changed
from src.estimate.machine import find_machine
from src.estimate.memory import Estimator, Memory
from tests.estimate.models import SMALL, config, folder

MIDDLE = Qwen2Config(
    hidden_size=512,
    num_hidden_layers=8,
    num_attention_heads=8,
    num_key_value_heads=2,
    intermediate_size=1536,
    vocab_size=32_000,
)


def on_gpu(path: str, gigabytes: float, **values: Any) -> Config:
    options = {
        "model__dtype": "bfloat16",
        "engine__kind": "auto",
        "engine__vllm__max_num_seqs": 16,
        "rollout__max_tokens": 1000,
        "rollout__max_prompt_tokens": 200,
        "trainer__batch_size": 256,
        "trainer__micro_batch_size": 16,
    }
    cfg = config(path, **(options | values))
    cfg.hardware = HardwareConfig(kind="gpu", gpus=1, gpu_memory_gb=gigabytes, tflops=100.0)
    return cfg


class TestMachine:
    def test_a_preset_is_taken_at_its_word(self) -> None:
        preset = OmegaConf.to_container(OmegaConf.load(ROOT / "conf/hardware/h100_80gb.yaml"))
        machine = find_machine(HardwareConfig(**preset), "bfloat16")
        assert (machine.gpu, machine.gpus, machine.memory) == (True, 1, 84_900_000_000)
        assert machine.flops == 989e12
        assert find_machine(HardwareConfig(**preset), "float32").flops == 989e12 / 16

    def test_a_cpu_is_looked_at(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WORLD_SIZE", "2")
        machine = find_machine(HardwareConfig(kind="cpu"), "float32")
        assert not machine.gpu
        assert machine.gpus == 2
        assert machine.memory == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
        assert machine.timed
        assert 1e8 < machine.flops < 1e15

    def test_an_absent_gpu_must_be_described(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(ConfigError, match=r"hardware\.kind=gpu: .* give hardware\.gpu_memory_gb"):
            find_machine(HardwareConfig(kind="gpu", tflops=1.0), "float32")


@pytest.fixture(scope="module")
def middle(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of 50 million parameters."""
    return folder(MIDDLE, tmp_path_factory.mktemp("middle"))


def memory(cfg: Config) -> Memory:
    return Estimator(cfg).memory(cfg, find_machine(cfg.hardware, "bfloat16"))


@pytest.mark.long
class TestAdvice:
    """What is said to be enough is, and what is milder is not."""

    def test_what_fits_needs_none(self, middle: str) -> None:
        result = estimate(on_gpu(middle, 80))
        assert result.memory.fits
        assert result.advice == []

    def test_single_changes_are_tried(self, middle: str) -> None:
        cfg = on_gpu(middle, 8)
        result = estimate(cfg)
        assert not result.memory.fits
        single = {next(iter(one.changes)): one for one in result.advice if len(one.changes) == 1}
        enough = single["trainer.micro_batch_size"]
        rows = enough.changes["trainer.micro_batch_size"]
        assert str(enough).startswith(f"trainer.micro_batch_size={rows} would fit: ")
        assert memory(changed(cfg, enough.changes)) == enough.memory
        assert not memory(changed(cfg, {"trainer.micro_batch_size": 2 * rows})).fits
        recomputed = single["trainer.gradient_checkpointing"]
        assert recomputed.saved == result.memory.needed - recomputed.memory.needed
        assert result.other == recomputed.memory.update

    def test_several_together_where_one_is_not_enough(self, middle: str) -> None:
        cfg = on_gpu(middle, 1.2)
        *singles, together = estimate(cfg).advice
        assert not any(one.memory.fits for one in singles)
        assert together.memory.fits
        assert len(together.changes) > 1
        for name in together.changes:
            fewer = {other: x for other, x in together.changes.items() if other != name}
            assert not memory(changed(cfg, fewer)).fits, f"{name} was not needed"

    def test_where_nothing_helps_that_is_said(self, middle: str, tmp_path: Path, capsys: Any) -> None:
        assert run(on_gpu(middle, 0.05), tmp_path) == DOES_NOT_FIT
        assert "no combination of these is sufficient" in capsys.readouterr().out

    def test_batches_that_cannot_be_shared_out_are_refused(self, middle: str) -> None:
        cfg = on_gpu(middle, 80)
        cfg.hardware.gpus = 3
        with pytest.raises(ConfigError, match=r"hardware\.gpus=3: .* give fewer GPUs"):
            estimate(cfg)


def test_a_model_that_cannot_be_traced_is_refused(tmp_path: Path) -> None:
    path = folder(Gemma2Config(hidden_size=32, num_hidden_layers=2, vocab_size=64), tmp_path)
    with pytest.raises(ConfigError, match=r"model\.path=.* Gemma2Config cannot be traced"):
        estimate(on_gpu(path, 80))


def test_what_is_printed_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cfg = on_gpu(folder(SMALL["qwen2"], tmp_path / "model"), 80)
    assert run(cfg, tmp_path) == 0
    out = capsys.readouterr().out
    written = json.loads((tmp_path / FILE).read_text())
    assert written["fits"]
    needed, usable = (written["memory"][name] / 1e9 for name in ("needed", "usable"))
    assert f"fits: {needed:.1f} of {usable:.1f} GB" in out
    assert f"{written['parameters']['total']:,} parameters" in out
    assert sum(one["update"] for one in written["memory"]["parts"]) == written["memory"]["update"]
    assert written["hours"]["total"] == pytest.approx(300 * written["hours"]["seconds_per_step"] / 3600)


@pytest.mark.long
def test_the_program_ends_with_the_verdict(tmp_path: Path) -> None:
    """Neither a tokenizer nor weights are there to be loaded, and TRL is not imported."""
    path = folder(SMALL["qwen3"], tmp_path / "model")
    ended = subprocess.run(
        [
            *(sys.executable, "-X", "importtime", "-m", "src.train", "+experiment=mini", "estimate=true"),
            *("hardware=a100_80gb", "hardware.gpu_memory_gb=0.01", f"model.path={path}"),
            f"hydra.run.dir={tmp_path}",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == DOES_NOT_FIT, ended.stderr[-2000:]
    assert not json.loads((tmp_path / FILE).read_text())["fits"]
    assert not any(line.endswith(" trl") for line in ended.stderr.splitlines())
