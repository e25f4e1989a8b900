"""A warm start from a given model: the whole of it, resume, and its folder."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

from src.config import EvaluationConfig, ModelConfig, StartModelConfig, TuneConfig, WarmStartConfig
from src.config.paths import CONF, ROOT, SMOLLM2
from src.config.schema import ConfigError
from src.launch.checks import warm_start as warm_start_checks
from src.launch.entry import composed
from src.policy.settle import settle
from src.run.interrupts import Interrupt, interrupts
from src.run.progress import ReportingProgress
from src.warm_start import tuning
from src.warm_start.corpus import Batch
from src.warm_start.from_model import start_from_model
from src.warm_start.tuning import CHECKPOINT, Tuning
from tests.warm_start.given_model import TUNE, write_model


def config(path: str, output: Path, form: str = "fence", **tune: Any) -> WarmStartConfig:
    formats = {
        "fence": {"_target_": "src.formats.FenceFormat"},
        "hermes": {"_target_": "src.formats.HermesFormat"},
    }
    return WarmStartConfig(
        model=StartModelConfig(path=path),
        output=str(output),
        format=formats[form],
        tune=replace(TUNE, **tune),
        threads=1,
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def finished(model_path: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("cold")
    start_from_model(config(model_path, output, epochs=3))
    return output


class TestWhole:
    def test_it_learns_and_says_so(self, finished: Path) -> None:
        summary = json.loads((finished / "summary.json").read_text())
        losses = [point["loss"] for point in summary["heldout"]]
        assert losses[-1] < losses[0]
        assert summary["heldout"][0]["step"] == 0
        assert summary["heldout"][-1]["step"] == summary["steps"] == len(summary["losses"]) > 3
        assert 0 <= summary["trajectories"]["padding_fraction"] < 0.5
        assert "Held-out loss" in (finished / "README.md").read_text()
        assert not (finished / CHECKPOINT).exists()

    def test_evaluation_and_training_take_it_as_it_was_made(self, finished: Path) -> None:
        cfg, codec = settle(EvaluationConfig(model=ModelConfig(path=str(finished), dtype="auto")))
        assert cfg.model.prompt_style == "chat"
        assert cfg.model.dtype == "float32"
        assert cfg.format == {"_target_": "src.formats.FenceFormat"}
        assert codec.eos_ids == {2}
        wrong = EvaluationConfig(model=ModelConfig(path=str(finished)))
        wrong.format = {"_target_": "src.formats.HermesFormat"}
        with pytest.raises(ConfigError, match="was trained with format"):
            settle(wrong)

    def test_the_same_command_again_does_nothing(
        self, finished: Path, model_path: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = (finished / "model.safetensors").stat().st_mtime_ns
        summary = start_from_model(config(model_path, finished, epochs=3))
        assert summary["steps"] > 3
        assert "is there already" in capsys.readouterr().out
        assert (finished / "model.safetensors").stat().st_mtime_ns == before
        with pytest.raises(ConfigError, match=r"has tune\.epochs=3, not 4"):
            start_from_model(config(model_path, finished, epochs=4))

    def test_another_model_is_not_overwritten(self, model_path: str) -> None:
        with pytest.raises(ConfigError, match="holds another model"):
            start_from_model(config(model_path, Path(model_path)))

    @pytest.mark.parametrize("form", ["hermes"])
    def test_other_formats_and_bfloat16(self, form: str, model_path: str, tmp_path: Path) -> None:
        start_from_model(config(model_path, tmp_path, form, autocast="bfloat16"))
        notes = json.loads((tmp_path / "cir.json").read_text())
        assert notes == {
            "prompt_style": "chat",
            "format": {"_target_": "src.formats.HermesFormat"},
        }
        cfg, _ = settle(EvaluationConfig(model=ModelConfig(path=str(tmp_path), dtype="auto")))
        assert cfg.model.dtype == "float32", "the policy has not been sampled in another"
        assert {one.dtype for one in weights(tmp_path).values()} == {torch.float32}

    def test_a_log_file_has_lines_with_the_time_left(
        self,
        model_path: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setitem(ReportingProgress.__init__.__kwdefaults__, "every", 0.01)
        start_from_model(config(model_path, tmp_path))
        assert re.search(
            r"warm start, loss \d\.\d+: 1 of \d+ \(\d+%\), .*/s, .* left", capsys.readouterr().out
        )

    def test_examples_are_in_the_prompts_and_in_the_notes(self, model_path: str, tmp_path: Path) -> None:
        cfg = config(model_path, tmp_path / "a", batch_tokens=8192)
        cfg.model.examples = 1
        (tmp_path / "a").mkdir()
        start_from_model(cfg)
        notes = json.loads((tmp_path / "a" / "cir.json").read_text())
        assert (notes["examples"], notes["examples_seed"]) == (1, 0)


class TestResume:
    def test_after_an_interrupt_it_ends_with_the_same_weights(
        self, model_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("whole", "parts"):
            (tmp_path / name).mkdir()
        whole = config(model_path, tmp_path / "whole", epochs=3)
        expected = start_from_model(whole)
        parts = config(model_path, tmp_path / "parts", epochs=3)
        step = Tuning._step

        def interrupted(self: Tuning, batch: Batch) -> None:
            step(self, batch)
            if self._curve.step in (1, 4):
                interrupts.asked = signal.SIGTERM

        monkeypatch.setattr(Tuning, "_step", interrupted)
        for _ in range(2):
            with pytest.raises(Interrupt):
                start_from_model(parts)
            interrupts.asked = None
            assert (tmp_path / "parts" / CHECKPOINT).is_file()
            assert not (tmp_path / "parts" / "config.json").exists()
        found = start_from_model(parts)
        assert found["losses"] == expected["losses"]
        assert found["heldout"] == expected["heldout"]
        one, other = weights(tmp_path / "whole"), weights(tmp_path / "parts")
        assert all(torch.equal(one[name], other[name]) for name in one)

    def test_a_checkpoint_of_other_settings_is_refused(
        self, model_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tuning.interrupts, "asked", signal.SIGTERM)
        with pytest.raises(Interrupt):
            start_from_model(config(model_path, tmp_path))
        monkeypatch.setattr(tuning.interrupts, "asked", None)
        with pytest.raises(ConfigError, match=r"has tune\.learning_rate=0\.01, not 0\.02"):
            start_from_model(config(model_path, tmp_path, learning_rate=0.02))

    @pytest.mark.long
    def test_after_kill_9_the_same_command_ends_with_the_same_weights(
        self, model_path: str, tmp_path: Path
    ) -> None:
        def command(name: str) -> list[str]:
            settings = ["tune.trajectories=60", "tune.heldout=3", "tune.batch_tokens=512", "tune.epochs=3"]
            settings += ["tune.checkpoint_every=2", "threads=1", f"output={tmp_path / name}"]
            settings += [f"model.path={model_path}", f"hydra.run.dir={tmp_path / name}-run"]
            return [sys.executable, "-m", "src.warm_start", *settings]

        def ends(name: str) -> None:
            ended = subprocess.run(command(name), cwd=ROOT, capture_output=True, text=True, timeout=900)
            assert ended.returncode == 0, ended.stderr

        ends("whole")
        killed = subprocess.Popen(
            command("parts"), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        file = tmp_path / "parts" / CHECKPOINT
        while killed.poll() is None and not file.is_file():
            time.sleep(0.02)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert file.is_file(), "killed before it was done"
        assert not (tmp_path / "parts" / "config.json").exists()
        ends("parts")
        one, other = weights(tmp_path / "whole"), weights(tmp_path / "parts")
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        ({"lora": {"rank": 4}}, r"lora\.rank=4: a warm start trains all weights"),
        ({"dtype": "bfloat16"}, r"dtype=bfloat16: a warm start keeps weights in float32"),
        ({"max_positions": 64}, "max_positions"),
        ({"path": "models/smollm2_135m"}, "run make model"),
    ],
)
def test_what_a_warm_start_cannot_do(
    model: dict[str, Any], fault: str, model_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cfg = StartModelConfig(path=model_path)
    for name, value in model.items():
        if name == "lora":
            cfg.lora.rank = value["rank"]
        else:
            setattr(cfg, name, value)
    (found,) = warm_start_checks.model(cfg, "model.")
    assert fault.replace("\\", "") in found
    assert warm_start_checks.model(StartModelConfig(), "model.") == []


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (
            ["model.path={model}", "output=a", "learning_rate=1e-4"],
            "learning_rate=0.0001: ignored with model",
        ),
        (["tune.epochs=2"], "tune.epochs=2: only for a given model"),
        (["model.examples=2"], "model.examples=2: only for a given model"),
    ],
)
def test_no_setting_is_ignored(given: list[str], fault: str, model_path: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(fault)):
        composed("warm_start", [one.format(model=model_path) for one in given], WarmStartConfig)


def test_the_mini_base_policy_is_not_overwritten(model_path: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "src.warm_start", f"model.path={model_path}", f"hydra.run.dir={tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert ended.returncode == 2
    assert "is the mini base policy's; give output=FOLDER" in ended.stderr


RECIPES = sorted(path.stem for path in (CONF / "warm_start").glob("*.yaml"))


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_composes_and_holds_differences_only(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / SMOLLM2)
    found = composed("warm_start", [f"+warm_start={name}"], WarmStartConfig)
    assert found.model.path == SMOLLM2
    assert found.output != WarmStartConfig().output
    own = OmegaConf.load(CONF / "warm_start" / f"{name}.yaml")
    for key, value in own.tune.items():
        assert getattr(TuneConfig(), key) != value
    hermes = composed("warm_start", [f"+warm_start={name}", "format=hermes"], WarmStartConfig)
    assert hermes.format == {"_target_": "src.formats.HermesFormat"}


def test_without_a_model_it_makes_the_mini_policy() -> None:
    assert composed("warm_start", [], WarmStartConfig) == WarmStartConfig()
