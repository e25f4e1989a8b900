"""Trajectories that do not fit into a model's positions: refused by its config.json, and made to fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, GPT2Config

from src.config import Config, EngineConfig, EvaluationConfig, ModelConfig, RolloutConfig
from src.config.schema import ConfigError
from src.launch.checks import check, load
from src.launch.checks.positions import positions
from src.policy.loading import load_model
from src.policy.positions import extend, hf_overrides, refuse_too_long
from src.rollout.engines import EngineError
from src.rollout.engines.colocated import llm_settings
from tests import chat_model
from tests.compositions import composed, evaluation, refusal, values
from tests.fakes import BPE
from tests.launch.test_entry import Shop, one_message
from tests.rollout.server import TableServer
from tests.rollout.test_engine_vllm_server import client

QWEN = chat_model.config().to_dict()
YARN = {"rope_type": "yarn", "factor": 4.0}
LONG = RolloutConfig(max_prompt_tokens=1024, max_tokens=4096)


class TestPositions:
    @pytest.mark.parametrize(
        ("config", "number"),
        [
            ({"max_position_embeddings": 4096}, 4096),
            ({"n_positions": 1024, "n_ctx": 1024}, 1024),
            ({"seq_length": 8192, "max_position_embeddings": 9000}, 8192),
            ({"max_sequence_length": 2048}, 2048),
            ({"max_seq_len": 2048}, 2048),
            ({"max_position_embeddings": 8192, "model_max_length": 131072}, 131072),
            ({"text_config": {"max_position_embeddings": 77}, "max_position_embeddings": 5}, 77),
            ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 2}}, 8192),
            ({"max_position_embeddings": 4096, "rope_scaling": {"type": "dynamic", "factor": 2.5}}, 10240),
            ({"max_position_embeddings": 4096, "rope_scaling": None}, 4096),
            ({"max_position_embeddings": 99, "rope_scaling": {"rope_type": "llama3", "factor": 8}}, 99),
            (
                {
                    "max_position_embeddings": 131072,
                    "rope_parameters": {
                        "rope_type": "yarn",
                        "factor": 4,
                        "original_max_position_embeddings": 9,
                    },
                },
                36,
            ),
            (
                {
                    "max_position_embeddings": 100,
                    "rope_parameters": {
                        "full_attention": {"rope_type": "linear", "factor": 8},
                        "sliding_attention": {"rope_type": "default"},
                    },
                },
                800,
            ),
            ({"max_position_embeddings": 100, "model_type": "gemma3_text",
              "rope_scaling": {"rope_type": "linear", "factor": 8}}, 100),
            ({}, None),
            ({"max_position_embeddings": None}, None),
        ],
    )  # fmt: skip
    def test_of_a_config_json(self, config: dict[str, Any], number: int | None) -> None:
        found = positions(config, ModelConfig())
        assert (found.number if found else None) == number

    @pytest.mark.parametrize(
        ("given", "number"),
        [
            ({"max_positions": 5120}, 5120),
            ({"max_positions": 100}, 100),
            ({"rope": {"rope_theta": 1e6}}, 4096),
            ({"rope": YARN}, 16384),
            ({"rope": YARN, "max_positions": 16384}, 16384),
            ({"rope": {"rope_type": "linear", "factor": 2}}, 8192),
        ],
    )
    def test_extended(self, given: dict[str, Any], number: int) -> None:
        """As the check reads it from the file, and as the model then has it."""
        cfg = ModelConfig(**given)
        found = positions(QWEN, cfg)
        assert found is not None
        assert found.number == number
        loaded = positions(extend(chat_model.config(), cfg).to_dict(), ModelConfig())
        assert loaded is not None
        assert loaded.number == number


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.write("qwen/config.json", json.dumps(QWEN))
    return shop


class TestCommands:
    TOO_LONG = (
        "configuration error: rollout.max_tokens=4096: with rollout.max_prompt_tokens=1024 a trajectory "
        "may have 5120 tokens, but model.path={} has 4096 positions (max_position_embeddings in its "
        "config.json); lower rollout.max_tokens=3072 to fit, or extend it with "
        "model.max_positions=5120"
    )

    @pytest.mark.parametrize(
        "command",
        [["src.train"], ["src.train", "estimate=true"], ["src.evaluate", "engine=transformers"]],
        ids=" ".join,
    )
    def test_refused_before_torch(self, shop: Shop, command: list[str]) -> None:
        program, *overrides = command
        ended = shop.run(*overrides, "model.path=qwen", "rollout.max_tokens=4096", program=program)
        assert one_message(ended, 60).startswith(self.TOO_LONG.format("qwen"))

    def test_of_a_hub_id_in_the_local_cache(self, shop: Shop) -> None:
        """Not the network's: the address of the hub leads nowhere."""
        cache = shop.folder / "cache" / "models--org--qwen"
        shop.write("cache/models--org--qwen/refs/main", "abc")
        shop.write("cache/models--org--qwen/snapshots/abc/config.json", json.dumps(QWEN))
        assert cache.is_dir()
        ended = shop.run(
            "model.path=org/qwen",
            "rollout.max_tokens=4096",
            HF_HUB_CACHE=str(cache.parent),
            HF_ENDPOINT="http://127.0.0.1:9",
        )
        assert one_message(ended, 60).startswith(self.TOO_LONG.format("org/qwen"))

    @pytest.mark.parametrize(
        "remedy",
        [
            ["rollout.max_tokens=3072"],
            ["model.max_positions=5120"],
            ["model.rope={rope_type: yarn, factor: 2.0}"],
        ],
        ids=str,
    )
    def test_the_remedies(self, remedy: list[str], tmp_path: Path) -> None:
        path = str(tmp_path)
        chat_model.config().save_pretrained(path)
        overrides = [f"model.path={path}", "rollout.max_tokens=4096", *remedy]
        assert isinstance(load(Config, composed("train", *overrides)), Config)
        assert isinstance(load(EvaluationConfig, composed("evaluate", *overrides)), EvaluationConfig)


class TestChecks:
    def test_the_base_of_an_adapter_counts(self, tmp_path: Path) -> None:
        chat_model.config().save_pretrained(tmp_path / "base")
        (tmp_path / "adapter").mkdir()
        says = {"base_model_name_or_path": str(tmp_path / "base")}
        (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(says))
        cfg = evaluation(f"model.path={tmp_path / 'adapter'}", "rollout.max_tokens=4096")
        (fault,) = check(cfg)
        assert "a trajectory may have 5120 tokens" in fault
        (tmp_path / "adapter" / "cir.json").write_text('{"max_positions": 5120}')
        assert check(cfg) == []

    def test_a_prompt_that_alone_fills_them(self, tmp_path: Path) -> None:
        chat_model.config(max_position_embeddings=512).save_pretrained(tmp_path)
        (fault,) = check(evaluation(f"model.path={tmp_path}", "rollout.max_tokens=600"))
        assert "lower rollout.max_tokens and rollout.max_prompt_tokens together to fit" in fault

    @pytest.mark.parametrize(
        ("rope", "says"),
        [
            ({"rope_tipe": "yarn"}, "rope_tipe=yarn: there is no such RoPE parameter; did you mean"),
            ({"type": "yarn"}, "rope.type=yarn: there is no such RoPE parameter; did you mean rope_type?"),
            ({"rope_type": "yarnn"}, "model.rope.rope_type=yarnn: choose default, linear"),
            ({"factor": "four"}, "model.rope.factor=four: expected a number above 0"),
        ],
    )  # fmt: skip
    def test_rope_parameters_that_there_are_not(self, rope: dict[str, Any], says: str) -> None:
        """Transformers warns of them, and goes on without."""
        config = values()
        config["model"]["rope"] = rope
        assert says in refusal(config)

    @pytest.mark.parametrize("recipe", ["cir_qwen2.5_math_7b", "cir_qwen2.5_math_1.5b"])
    def test_the_recipes_fit_the_real_models_positions(
        self, recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("src.launch.checks.find_spec", lambda name: name)
        chat_model.config().save_pretrained(tmp_path / "model")
        (tmp_path / "train.parquet").touch()
        overrides = [f"model.path={tmp_path / 'model'}", f"data.train_path={tmp_path / 'train.parquet'}"]
        cfg = composed("train", f"+experiment={recipe}", *overrides)
        assert load(Config, cfg).model.max_positions == 17408
        with pytest.raises(ConfigError, match="a trajectory may have 5120 tokens"):
            load(Config, composed("train", f"+experiment={recipe}", *overrides, "model.max_positions=null"))
        benchmark = (f"model={recipe.removeprefix('cir_')}", overrides[0], "benchmark=aime24")
        assert check(evaluation(*benchmark)) == []
        (fault,) = check(evaluation(*benchmark, "model.max_positions=null"))
        assert "a trajectory may have 17408 tokens" in fault


class TestExtending:
    def test_the_model_and_its_checkpoints(self, tmp_path: Path) -> None:
        path = chat_model.write(tmp_path / "model")
        cfg = ModelConfig(path, max_positions=5120, rope={"rope_theta": 50_000.0})
        refuse_too_long(cfg, LONG)
        with pytest.raises(ConfigError, match="has 4096 positions"):
            refuse_too_long(ModelConfig(path), LONG)
        model = load_model(cfg)
        model.save_pretrained(tmp_path / "saved")
        saved = json.loads((tmp_path / "saved" / "config.json").read_text())
        assert saved["max_position_embeddings"] == 5120
        assert saved["rope_parameters"] == {"rope_theta": 50_000.0, "rope_type": "default"}
        refuse_too_long(ModelConfig(str(tmp_path / "saved")), LONG)
        ids = torch.arange(40)[None]
        with torch.no_grad():
            ours, theirs = model(ids).logits, load_model(ModelConfig(path))(ids).logits
            again = load_model(ModelConfig(str(tmp_path / "saved")))(ids).logits
        assert not torch.allclose(ours, theirs), "another frequency is another model"
        assert torch.equal(ours, again)

    def test_more_positions_alone_change_no_number(self, tmp_path: Path) -> None:
        path = chat_model.write(tmp_path)
        ids = torch.arange(40)[None]
        with torch.no_grad():
            ours = load_model(ModelConfig(path, max_positions=17408))(ids).logits
            assert torch.equal(ours, load_model(ModelConfig(path))(ids).logits)

    def test_vllm_is_told_the_same(self, tmp_path: Path) -> None:
        chat_model.config().save_pretrained(tmp_path)
        cfg = ModelConfig(str(tmp_path), max_positions=16384, rope=YARN)
        told = llm_settings(EngineConfig(), cfg, LONG)["hf_overrides"]
        assert told["max_position_embeddings"] == 16384
        assert told["rope_parameters"] == {
            "rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4, "original_max_position_embeddings": 4096,
        }  # fmt: skip
        config = AutoConfig.from_pretrained(tmp_path)
        config.update(told)  # what vLLM does with it
        found = positions(config.to_dict(), ModelConfig())
        assert found is not None
        assert found.number == 16384
        assert "hf_overrides" not in llm_settings(EngineConfig(), ModelConfig(str(tmp_path)), LONG)
        assert hf_overrides(ModelConfig("no/model")) == {}

    @pytest.mark.parametrize(
        ("config", "given", "says"),
        [
            (GPT2Config(), {"max_positions": 2048}, "has no rotary positions .GPT2Config."),
            (chat_model.config(), {"rope": {"rope_type": "yarn"}}, "transformers refuses it .*'factor'"),
        ],
    )
    def test_what_cannot_be(self, config: Any, given: dict[str, Any], says: str) -> None:
        with pytest.raises(ConfigError, match=says):
            extend(config, ModelConfig(**given))


def test_a_server_that_takes_too_few_tokens_is_refused_before_anything_is_asked() -> None:
    with TableServer(BPE, {}, longest=4096) as server:
        with client(server.url, longest=4096) as engine:
            engine.start(lambda: None)
        with (
            client(server.url, longest=5120) as engine,
            pytest.raises(EngineError, match=r"accepts 4096 tokens .*is 5120; start it with --max-model-len"),
        ):
            engine.start(lambda: None)
        assert server.asked == []
