"""Every option of conf/model composes, passes the checks, and has positions for the paper's evaluation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from transformers import Qwen2Config, Qwen3Config

from src.config import Config, EvaluationConfig
from src.config.composition import compose
from src.config.document import _comment
from src.config.paths import CONF, ROOT, SMOLLM2
from src.config.schema import ConfigError
from src.launch import checks
from src.launch.checks import policy
from src.policy.positions import read_config, refuse_too_long
from tests import chat_model
from tests.estimate.models import SMALL, folder

SMALL_ONES = (
    "mini",
    "smollm2_135m",
    "smollm2_135m_start",
)  # for a laptop: not the paper's, and folders instead of hub ids
MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml") if path.stem not in SMALL_ONES)
TABLE_1 = {  # rows of the paper's Table 1: the prompt style of each
    "qwen2.5_math_7b_instruct": "chat",
    "simplerl_zero_7b": "chat",
    "eurus_2_7b_prime": "chat",
    "oat_zero_7b": "chat",
    "torl_7b": "plain",
    "cir_qwen2.5_math_7b": "plain",
}
POSITIONS = {"qwen2": 4096, "qwen3": 40960}  # in the config.json of Qwen2.5-Math and Qwen3


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(checks, "find_spec", lambda name: name)  # vLLM


def evaluation(model: str, *overrides: str) -> EvaluationConfig:
    given = [f"model={model}", "engine=vllm", "format=fence", *overrides]
    return checks.load(EvaluationConfig, compose("evaluate", EvaluationConfig, given))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("arm", [["benchmark=aime24"], ["evaluate.modes=[text]"]])
def test_it_composes_and_checks_for_evaluation(model: str, arm: list[str], evaluated: None) -> None:
    cfg = evaluation(model, *arm)
    assert cfg.model.path.count("/") == 1
    assert cfg.model.dtype == "auto"
    assert cfg.model.prompt_style in ("plain", "chat", "chat_without_thinking")


@pytest.mark.parametrize("model", MODELS)
def test_it_composes_and_checks_for_training(model: str, evaluated: None, tmp_path: Path) -> None:
    (tmp_path / "train.parquet").touch()
    given = [
        "+experiment=cir_qwen2.5_math_7b",
        f"model={model}",
        f"data.train_path={tmp_path / 'train.parquet'}",
    ]
    cfg = checks.load(Config, compose("train", Config, given))
    assert cfg.model.dtype == "float32", "16-bit weights would lose the updates"


@pytest.mark.parametrize("model", MODELS)
def test_the_papers_evaluation_fits_its_positions(model: str, evaluated: None, tmp_path: Path) -> None:
    """With a small model in its place, of the same family and with the same number of positions."""
    cfg = evaluation(model, "benchmark=aime24")
    kind = "qwen3" if "qwen3" in model else "qwen2"
    sizes = SMALL[kind].to_dict() | {"max_position_embeddings": POSITIONS[kind]}
    small = (Qwen3Config if kind == "qwen3" else Qwen2Config)(**sizes)
    there = replace(cfg.model, path=folder(small, tmp_path))
    refuse_too_long(there, cfg.rollout)
    assert (
        read_config(there).max_position_embeddings >= cfg.rollout.max_prompt_tokens + cfg.rollout.max_tokens
    )
    if kind == "qwen2":
        with pytest.raises(ConfigError, match="4096 positions"):
            refuse_too_long(replace(there, max_positions=None), cfg.rollout)


@pytest.mark.parametrize(("model", "style"), TABLE_1.items())
def test_the_rows_of_the_papers_table(model: str, style: str, evaluated: None) -> None:
    cfg = evaluation(model, "benchmark=aime24")
    assert cfg.model.prompt_style == style
    assert "Table 1" in _comment(CONF / "model" / f"{model}.yaml") or model.startswith("cir_")
    assert "Source:" in _comment(CONF / "model" / f"{model}.yaml")


def test_the_pretrained_model_for_a_laptop(
    evaluated: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is not made yet, the error says how; where it is, it composes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(policy, "ROOT", tmp_path)
    with pytest.raises(ConfigError, match=r"model\.path=models/smollm2_135m: .* run make model"):
        evaluation("smollm2_135m", "benchmark=mini")
    chat_model.write(tmp_path / SMOLLM2)
    assert evaluation("smollm2_135m", "benchmark=mini").model.path == SMOLLM2
    assert "HuggingFaceTB/SmolLM2-135M-Instruct" in _comment(CONF / "model" / "smollm2_135m.yaml")
