"""What we rely on in TRL's vLLM beside the trainer: one fact a test; see tests/test_upstream.py."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, call, patch

import pytest
import torch
from trl import GRPOTrainer
from trl.generation import vllm_generation

from src.rollout.engines.colocated import trl_makes_llm_with
from tests.upstream import COMPLETIONS, given, score, used_by

COLOCATED, TRAINER = "src/rollout/engines/colocated.py", "src/trainer/cir_trainer.py"
ADAPTER, SETTINGS = "src/rollout/adapter.py", "src/trainer/grpo_settings.py"


@pytest.fixture
def llm(monkeypatch: pytest.MonkeyPatch) -> Iterator[MagicMock]:
    """Stands for vLLM's LLM; the environment that TRL sets for it is put back."""
    made = MagicMock()
    monkeypatch.setattr(vllm_generation, "LLM", made, raising=False)
    monkeypatch.setattr(vllm_generation, "is_vllm_available", lambda: True)
    with patch.dict(os.environ):
        yield made


def colocated(folder: Path, more: dict[str, Any] | None = None, **options: Any) -> GRPOTrainer:
    return given(folder, more, use_vllm=True, vllm_mode="colocate", **options)


class TestColocated:
    @used_by(COLOCATED)
    def test_the_llm_is_made_by_a_name_of_the_module_with_keywords_alone(
        self, tmp_path: Path, llm: MagicMock
    ) -> None:
        with trl_makes_llm_with({"dtype": "float32", "max_num_seqs": 7}):
            generation = colocated(tmp_path).vllm_generation
        assert vllm_generation.LLM is llm, "put back"
        (made,) = llm.call_args_list
        assert made.args == ()
        assert {"dtype": "float32", "max_num_seqs": 7, "logprobs_mode": "processed_logprobs"}.items() <= (
            made.kwargs.items()
        )
        assert generation.llm is llm.return_value
        assert (generation.mode, generation._llm_weights_sleeping) == ("colocate", False)

    @used_by(COLOCATED, "src/policy/adapters.py")
    def test_weights_are_pushed_one_by_one_under_the_names_of_the_model(
        self, tmp_path: Path, llm: MagicMock
    ) -> None:
        trainer = colocated(tmp_path)
        generation = trainer.vllm_generation
        named = dict(trainer.model.named_parameters())
        pushed = dict(generation._iter_named_params())
        assert list(pushed) == list(named)
        assert all(pushed[name].data_ptr() == named[name].data_ptr() for name in named)
        names = iter(["one", "two"])
        generation._iter_named_params = lambda: ((name, torch.ones(1)) for name in names)
        generation.sync_weights()
        runner = llm.return_value.llm_engine.model_executor.driver_worker.model_runner
        assert [pairs[0][0] for (pairs,), _ in runner.model.load_weights.call_args_list] == ["one", "two"]
        llm.return_value.reset_prefix_cache.assert_called_once_with()
        assert generation._dist.is_zero3 is False
        assert generation._fix_param_name_to_vllm("_checkpoint_wrapped_module.a.b") == "a.b"

    @used_by(TRAINER, COLOCATED)
    def test_weights_are_synchronised_once_a_global_step_before_the_rollout(
        self, tmp_path: Path, llm: MagicMock
    ) -> None:
        log: list[str] = []
        trainer = colocated(tmp_path, {"logprobs": [[-1.0] * len(ids) for ids in COMPLETIONS]})
        inner = trainer.rollout_func
        trainer.rollout_func = lambda *args: (log.append("rollout"), inner(*args))[1]
        trainer.vllm_generation.sync_weights = lambda: log.append("weights")
        score(trainer)
        score(trainer)
        trainer.state.global_step += 1
        score(trainer)
        assert log == ["weights", "rollout", "rollout", "weights", "rollout"]

    @used_by(COLOCATED)
    def test_sleep_throws_the_weights_away_and_synchronising_wakes_them(
        self, tmp_path: Path, llm: MagicMock
    ) -> None:
        generation = colocated(tmp_path, vllm_enable_sleep_mode=True).vllm_generation
        assert generation._llm_weights_sleeping
        generation.sync_weights()
        assert not generation._llm_weights_sleeping
        calls = [one for one in llm.return_value.mock_calls if one[0] in ("sleep", "wake_up")]
        assert calls == [call.sleep(level=2), call.wake_up(tags=["weights"])]

    @used_by(ADAPTER, SETTINGS)
    def test_importance_ratios_are_cut_off_and_one_where_there_is_no_logprob(
        self, tmp_path: Path, llm: MagicMock
    ) -> None:
        """The ablation rollout.mask=none gives nan for feedback."""
        logprobs = [[-6.0] * len(ids) for ids in COMPLETIONS]
        logprobs[4] = [-50.0, math.nan] + [-6.0] * 6
        masks = [[1] * len(ids) for ids in COMPLETIONS]
        masks[5] = [0] * 5
        trainer = colocated(
            tmp_path, {"logprobs": logprobs, "env_mask": masks},
            vllm_importance_sampling_mode="token_truncate", vllm_importance_sampling_clip_max=3.0,
        )  # fmt: skip
        output = score(trainer)
        ratios, old = output["importance_sampling_ratio"], output["old_per_token_logps"]
        assert ratios[4, :2].tolist() == [3.0, 1.0]
        torch.testing.assert_close(ratios[4, 2:], (old[4, 2:] + 6).exp().clamp(max=3.0))
        assert (ratios[5] == 1).all()
        assert not ratios.isnan().any()
