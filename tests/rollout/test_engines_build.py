"""Which engine is taken, and what vLLM is told."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

from src.config import EngineConfig, ModelConfig, RolloutConfig, VLLMConfig
from src.rollout.engines import build
from src.rollout.engines.build import choose_engine
from src.rollout.engines.colocated import llm_settings
from src.rollout.engines.vllm_variables import set_vllm_variables


@pytest.mark.parametrize(
    ("kind", "installed", "gpu", "taken"),
    [
        ("auto", True, True, "vllm"),
        ("auto", False, True, "transformers"),
        ("auto", True, False, "transformers"),
        ("auto", False, False, "transformers"),
        ("vllm", True, False, "vllm"),
        ("vllm_server", False, False, "vllm_server"),
        ("transformers", True, True, "transformers"),
    ],
)
def test_auto_takes_vllm_where_it_serves_better(
    monkeypatch: pytest.MonkeyPatch, kind: str, installed: bool, gpu: bool, taken: str
) -> None:
    monkeypatch.setattr(build, "find_spec", lambda name: object() if installed else None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert choose_engine(EngineConfig(kind=kind)) == taken


def test_vllm_samples_as_the_trainers_model_would() -> None:
    settings = llm_settings(
        EngineConfig(vllm=VLLMConfig(max_num_seqs=7, eager=True)),
        ModelConfig(dtype="bfloat16", revision="v2"),
        RolloutConfig(max_tokens=300, max_prompt_tokens=200),
    )
    assert settings == settings | {
        "dtype": "bfloat16", "revision": "v2", "max_model_len": 500, "max_num_seqs": 7, "enforce_eager": True,
        "enable_prefix_caching": True, "logprobs_mode": "processed_logprobs",
    }  # fmt: skip


def test_what_the_user_has_set_in_the_environment_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    environment: dict[str, Any] = {"VLLM_CPU_KVCACHE_SPACE": "9"}
    monkeypatch.setattr(os, "environ", environment)
    set_vllm_variables(EngineConfig(vllm=VLLMConfig(cpu_memory_gb=3)))
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "9"
    assert environment["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
