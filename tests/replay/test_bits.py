"""A step again: equal to the last bit, whatever it depends on; and what is said if it is not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from src.config import Config, LoRAConfig, ModelConfig
from src.policy.adapters import add_adapter
from src.replay.comparison import whole
from src.replay.replay import Repeated, ReplayError
from src.replay.weights import deviation
from src.run.records import RecordError
from src.run.token_columns import read_tokens, token_files
from tests import tiny
from tests.recorded_run import again, config, copied, train


@pytest.fixture
def lora(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    plain = tiny.model

    def use(dropout: float) -> None:
        settings = ModelConfig(lora=LoRAConfig(rank=4, dropout=dropout))
        monkeypatch.setattr(tiny, "model", lambda seed=0: add_adapter(plain(seed), settings))

    return use


class TestBits:
    def test_every_step_from_its_checkpoint(self, whole_run: tuple[Config, Path]) -> None:
        cfg, run = whole_run
        for step in range(3):
            result = again(cfg, run, step)
            (repeated,) = result.steps
            assert repeated.equal
            assert {"loss", "grad_norm", "learning_rate", "entropy"} <= repeated.metrics.keys()
            assert result.checkpoints == {step + 1: 0.0}

    def test_without_a_checkpoint_from_the_initial_policy(self, tmp_path: Path) -> None:
        """The steps on the way are repeated, too; ``verify`` goes on to the checkpoint."""
        cfg = config(checkpoint_every=3)
        train(cfg, tmp_path)
        short = again(cfg, tmp_path, 1)
        assert (short.start, [one.step for one in short.steps]) == (None, [0, 1])
        assert short.checkpoints == {}
        result = again(cfg, tmp_path, 1, verify=True)
        assert [one.step for one in result.steps] == [0, 1, 2]
        assert result.checkpoints == {3: 0.0}
        assert short.weights.items() <= result.weights.items()
        assert len(set(result.weights.values())) == 3

    @pytest.mark.parametrize(
        "trainer",
        [
            {"minibatches": 1, "loss_type": "grpo", "advantage": "grpo"},
            {"lr_schedule": "linear", "warmup_steps": 2, "weight_decay": 0.1, "max_grad_norm": 0.01},
            pytest.param(
                {"exclude": ["length"], "whiten_over": "response", "entropy_coef": 0.1},
                marks=pytest.mark.long,
            ),
            pytest.param({"dynamic_sampling": 2}, marks=pytest.mark.long),
        ],
        ids=lambda trainer: "-".join(trainer),
    )
    def test_settings(self, tmp_path: Path, trainer: dict[str, Any]) -> None:
        cfg = config(**{"steps": 2} | trainer)
        train(cfg, tmp_path)
        assert again(cfg, tmp_path, 1).checkpoints == {2: 0.0}

    @pytest.mark.parametrize(("dropout", "kl"), [(0.2, 0.1), pytest.param(0.0, 0.0, marks=pytest.mark.long)])
    def test_an_adapter_with_dropout_and_a_reference(
        self, tmp_path: Path, lora: Callable[[float], None], dropout: float, kl: float
    ) -> None:
        lora(dropout)
        cfg = config(steps=2, kl_coef=kl)
        train(cfg, tmp_path)
        result = again(cfg, tmp_path, 1)
        assert result.checkpoints == {2: 0.0}
        assert ("kl" in result.steps[0].metrics) == (kl > 0)

    @pytest.mark.parametrize(
        "mode", ["token_truncate", pytest.param("sequence_mask", marks=pytest.mark.long)]
    )
    def test_weights_of_the_engine(self, tmp_path: Path, mode: str) -> None:
        cfg = config(steps=2, importance_sampling=mode, minibatches=1)
        train(cfg, tmp_path, corrected=True)
        weights = read_tokens(tmp_path, 1)["engine_weight"].explode().drop_nulls()
        assert weights.n_unique() > (10 if mode == "token_truncate" else 1)
        result = again(cfg, tmp_path, 1)
        assert result.checkpoints == {2: 0.0}
        off = replace(cfg, trainer=replace(cfg.trainer, importance_sampling="none"))
        compared = again(cfg, tmp_path, 1, off).comparison
        assert compared is not None
        assert (whole(compared.steps[0].gradient).cosine or 0) < 0.999

    def test_after_a_kill_and_a_resume(self, tmp_path: Path) -> None:
        """Step 1 was done twice; what counts is what the last attempt sampled in it."""
        cfg = config(checkpoint_every=1, steps=2)
        train(cfg, tmp_path)
        first = read_tokens(tmp_path, 1)
        (tmp_path / "checkpoints" / "step-2" / "complete.json").unlink()  # killed while it was written
        cfg = config(checkpoint_every=1, steps=3)
        torch.manual_seed(5)
        rng = tmp_path / "checkpoints" / "step-1" / "rng_state.pth"
        complete = json.loads((rng.parent / "complete.json").read_text())
        del complete["files"][rng.name]  # else the second attempt would sample the same
        rng.unlink()
        (rng.parent / "complete.json").write_text(json.dumps(complete))
        train(cfg, tmp_path, attempt=1, resume=rng.parent)
        assert [int(path.stem[-1]) for path in token_files(tmp_path).values()] == [0, 1, 1]
        assert not first["token_ids"].equals(read_tokens(tmp_path, 1)["token_ids"])
        for step in range(3):
            assert again(cfg, tmp_path, step).checkpoints == {step + 1: 0.0}
        for path in (tmp_path / "checkpoints").iterdir():
            (path / "complete.json").unlink(missing_ok=True)
        assert [one.step for one in again(cfg, tmp_path, 2).steps] == [0, 1, 2]


class TestDeviations:
    def test_no_tolerance_is_large_enough_for_what_is_no_number(self) -> None:
        nan = float("nan")
        repeated = Repeated(1, {"loss": (nan, nan), "grad_norm": (1.0, 1.0)}, [])
        assert (repeated.equal, repeated.deviation) == (True, 0)
        for metrics in (
            {"loss": (0.5, nan), "grad_norm": (1.0, 1.0)},
            {"loss": (0.5, 0.5), "grad_norm": (1.0, nan)},
        ):
            repeated = Repeated(1, metrics, [])
            assert (repeated.equal, repeated.deviation) == (False, math.inf)

    def test_a_weight_that_is_no_number_deviates(self, tmp_path: Path) -> None:
        for name, value in (("saved", 1.0), ("written", float("nan"))):
            (tmp_path / name).mkdir()
            save_file({"w": torch.tensor([0.0, value])}, tmp_path / name / "model.safetensors")
        assert deviation(tmp_path / "saved", tmp_path / "written") == math.inf
        assert deviation(tmp_path / "written", tmp_path / "written") == 0

    def test_another_reward_is_noticed(self, whole_run: tuple[Config, Path], tmp_path: Path) -> None:
        cfg, run = whole_run
        copy = copied(run, tmp_path)
        lines = [json.loads(line) for line in (copy / "trajectories.jsonl").read_text().splitlines()]
        row = next(line for line in lines if line["step"] == 1)
        row["rewards"]["total"] *= -1
        (copy / "trajectories.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        with pytest.raises(ReplayError, match=r"step 1 is not .* another advantage.*tolerance="):
            again(cfg, copy, 1)
        assert not again(cfg, copy, 1, tolerance=10.0).steps[0].equal

    def test_weights_are_compared_with_the_checkpoint(
        self, whole_run: tuple[Config, Path], tmp_path: Path
    ) -> None:
        cfg, run = whole_run
        file = copied(run, tmp_path) / "checkpoints" / "step-2" / "model.safetensors"
        written = bytearray(file.read_bytes())
        written[-5] ^= 1  # a low bit of a weight
        file.write_bytes(written)
        with pytest.raises(ReplayError, match=r"weights deviate by up to .* from checkpoint 2"):
            again(cfg, tmp_path, 1)

    def test_segments_of_another_run_are_refused(
        self, whole_run: tuple[Config, Path], tmp_path: Path
    ) -> None:
        cfg, run = whole_run
        copy = copied(run, tmp_path)
        lines = [json.loads(line) for line in (copy / "trajectories.jsonl").read_text().splitlines()]
        lines[-1]["segments"][0]["tokens"] += 1
        (copy / "trajectories.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        with pytest.raises(RecordError, match="segments of trajectory"):
            again(cfg, copy, 2)
