"""Parameters, counted on the meta device."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import PreTrainedConfig, Qwen2Config, Qwen3Config

from src.config import LoRAConfig, ModelConfig
from src.config.schema import ConfigError
from src.estimate.policy import count, read_config
from tests.estimate.models import ADAPTERS, SMALL, folder, real


def qwen(
    kind: type, hidden: int, layers: int, heads: int, kv: int, inner: int, words: int, tied: bool
) -> object:
    return kind(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv,
        intermediate_size=inner,
        vocab_size=words,
        tie_word_embeddings=tied,
    )


PUBLISHED = {
    "Qwen2.5-Math-7B": (qwen(Qwen2Config, 3584, 28, 28, 4, 18944, 152064, False), 7_615_616_512),
    "Qwen2.5-Math-1.5B": (qwen(Qwen2Config, 1536, 28, 12, 2, 8960, 151936, True), 1_543_714_304),
    "Qwen3-8B": (qwen(Qwen3Config, 4096, 36, 32, 8, 12288, 151936, False), 8_190_735_360),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_have_the_parameters_that_are_published(name: str) -> None:
    config, total = PUBLISHED[name]
    p = count(config, ModelConfig(dtype="bfloat16"))
    assert (p.total, p.trainable, p.weights, p.gradients) == (total, total, 2 * total, 2 * total)


@pytest.mark.parametrize("lora", [LoRAConfig(), ADAPTERS, LoRAConfig(rank=3)], ids=["whole", "two", "all"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", SMALL)
def test_counts_and_bytes_are_those_of_the_model_itself(name: str, dtype: str, lora: LoRAConfig) -> None:
    cfg = ModelConfig(dtype=dtype, lora=lora)
    p = count(SMALL[name], cfg)
    parameters = list(real(SMALL[name], cfg).parameters())
    trained = [one for one in parameters if one.requires_grad]
    assert p.total == sum(one.numel() for one in parameters)
    assert p.weights == sum(one.nbytes for one in parameters)
    assert p.trainable == sum(one.numel() for one in trained)
    assert p.gradients == sum(one.nbytes for one in trained)
    assert p.tensors == len(trained)


def test_a_folder_with_config_json_is_enough(tmp_path: Path) -> None:
    read: PreTrainedConfig = read_config(ModelConfig(path=folder(SMALL["qwen2"], tmp_path)))
    assert count(read, ModelConfig()) == count(SMALL["qwen2"], ModelConfig())


def test_a_config_json_that_cannot_be_had_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match=r"model\.path=some/model: .* cannot be read .* give a folder"):
        read_config(ModelConfig(path="some/model"))
    (tmp_path / "config.json").write_text('{"model_type": "no_such_type"}')
    with pytest.raises(ConfigError, match="no_such_type"):
        read_config(ModelConfig(path=str(tmp_path)))
