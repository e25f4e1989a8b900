"""Loading a policy: whole, with a new adapter, or an adapter's folder; an adapter as a whole model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import GenerationConfig, PreTrainedModel

from src import merge_adapter
from src.config import (
    BenchmarkConfig,
    EngineConfig,
    EvaluateConfig,
    EvaluationConfig,
    LoRAConfig,
    ModelConfig,
    RolloutConfig,
    SandboxConfig,
)
from src.config.composition import compose
from src.config.paths import ROOT
from src.config.schema import ConfigError
from src.experiment.evaluation.benchmark_run import run
from src.launch.checks import load
from src.merge_adapter import MergeAdapterConfig, merge
from src.policy.adapters import merged_parameters
from src.policy.loading import load_codec, load_model, whole_model
from src.run.records import iter_records
from tests import tiny
from tests.fakes import BPE

BASE = str(ROOT / "experiments" / "mini_base")


def save(model: PeftModel, folder: Path) -> ModelConfig:
    """Write an adapter that matters; the base is the model's own."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.1, generator=generator)
    model.save_pretrained(folder)
    return ModelConfig(path=str(folder))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelConfig:
    """A tiny model in bfloat16 that names a second end of text."""
    folder = tmp_path_factory.mktemp("base")
    model = tiny.model().to(torch.bfloat16)
    model.generation_config = GenerationConfig(eos_token_id=[BPE.tokenizer.eos_token_id, 7])
    model.save_pretrained(folder)
    BPE.tokenizer.save_pretrained(folder)
    return ModelConfig(path=str(folder), dtype="bfloat16")


@pytest.fixture(scope="module")
def adapter(base: ModelConfig, tmp_path_factory: pytest.TempPathFactory) -> ModelConfig:
    model = load_model(ModelConfig(base.path, dtype="bfloat16", lora=LoRAConfig(rank=4)))
    assert isinstance(model, PeftModel)
    cfg = save(model, tmp_path_factory.mktemp("adapter"))
    cfg.dtype = "bfloat16"
    return cfg


def logits(model: PreTrainedModel) -> torch.Tensor:
    ids = torch.randint(0, 200, (2, 30), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model.eval()(ids).logits.float()


class TestLoading:
    def test_a_whole_model(self, base: ModelConfig) -> None:
        model = load_model(base)
        assert not isinstance(model, PeftModel)
        assert all(parameter.requires_grad for parameter in model.parameters())

    def test_a_new_adapter_changes_nothing_and_is_drawn_from_the_seed(self, base: ModelConfig) -> None:
        cfg = ModelConfig(base.path, dtype="bfloat16", lora=LoRAConfig(rank=4))
        drawn = []
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            model = load_model(cfg)
            assert torch.equal(logits(model), logits(load_model(base)))
            drawn.append(torch.cat([p.flatten() for n, p in model.named_parameters() if "lora_A" in n]))
        assert torch.equal(drawn[0], drawn[1])
        assert not torch.equal(drawn[0], drawn[2])

    def test_the_folder_of_an_adapter_is_loaded_with_its_base(
        self, base: ModelConfig, adapter: ModelConfig
    ) -> None:
        says = json.loads((Path(adapter.path) / "adapter_config.json").read_text())
        assert says["base_model_name_or_path"] == base.path
        model = load_model(adapter)
        assert isinstance(model, PeftModel)
        weights = {name: p.dtype for name, p in model.named_parameters()}
        assert {d for n, d in weights.items() if "lora_" in n} == {torch.float32}
        assert {d for n, d in weights.items() if "lora_" not in n} == {torch.bfloat16}
        assert not any(parameter.requires_grad for parameter in model.parameters())
        assert (logits(model) - logits(load_model(base))).abs().mean() > 0.01

    def test_its_tokens_are_the_bases_but_for_a_tokenizer_of_its_own(
        self, base: ModelConfig, adapter: ModelConfig, tmp_path: Path
    ) -> None:
        assert load_codec(adapter).eos_ids == load_codec(base).eos_ids == {BPE.tokenizer.eos_token_id, 7}
        for file in Path(adapter.path).iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        tokenizer = load_codec(base).tokenizer
        tokenizer.add_tokens(["<new>"])
        tokenizer.save_pretrained(tmp_path)
        codec = load_codec(ModelConfig(path=str(tmp_path)))
        assert len(codec.tokenizer) == len(tokenizer) == len(load_codec(base).tokenizer) + 1
        assert codec.eos_ids == load_codec(base).eos_ids


class TestMerging:
    def test_a_whole_model_in_the_bases_dtype(self, adapter: ModelConfig, tmp_path: Path) -> None:
        output = tmp_path / "new" / "whole"
        merge(Path(adapter.path), output)
        assert [path.name for path in output.parent.iterdir()] == ["whole"]
        expected = dict(merged_parameters(load_model(adapter)))
        written = load_file(output / "model.safetensors")
        assert written.keys() == expected.keys()
        for name, tensor in written.items():
            assert tensor.dtype == torch.bfloat16
            assert torch.equal(tensor, expected[name])
        cfg = ModelConfig(path=str(output), dtype="bfloat16")
        assert not isinstance(load_model(cfg), PeftModel)
        assert load_codec(cfg).eos_ids == load_codec(adapter).eos_ids
        assert load_codec(cfg).encode("```python") == BPE.encode("```python")

    def test_what_fails_leaves_nothing(
        self, adapter: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object, **__: object) -> None:
            raise OSError("no space left")

        monkeypatch.setattr("transformers.PreTrainedTokenizerFast.save_pretrained", full)
        with pytest.raises(OSError, match="no space left"):
            merge(Path(adapter.path), tmp_path / "whole")
        assert list(tmp_path.iterdir()) == []

    def test_for_a_while_only(self, base: ModelConfig, adapter: ModelConfig, tmp_path: Path) -> None:
        with whole_model(base, tmp_path) as cfg:
            assert cfg is base
        with whole_model(adapter, tmp_path) as cfg:
            assert Path(cfg.path).parent == tmp_path
            difference = logits(load_model(cfg)) - logits(load_model(adapter))
        assert difference.abs().max() < 0.05  # merged weights are rounded to bfloat16
        assert list(tmp_path.iterdir()) == []

    def test_refusals(self, base: ModelConfig, adapter: ModelConfig, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=rf"output={tmp_path}: exists already"):
            merge(Path(adapter.path), tmp_path)
        with pytest.raises(ConfigError, match=r"no adapter is there \(adapter_config.json is missing\)"):
            merge(Path(base.path), tmp_path / "whole")
        assert list(tmp_path.iterdir()) == []

    def test_as_a_command(self, tmp_path: Path) -> None:
        """Its configuration fits; a mistake ends it in a second, and no folder is made."""
        given = ["model.path=a", "output=b"]
        cfg = load(MergeAdapterConfig, compose("merge_adapter", MergeAdapterConfig, given))
        assert (cfg.model.path, cfg.output) == ("a", "b")
        command = [sys.executable, "-m", merge_adapter.__name__, f"model.path={BASE}", "output=new"]
        environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stderr.startswith(f"configuration error: model.path={BASE}: no adapter is there")
        assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An adapter of the mini policy."""
    model = load_model(ModelConfig(path=BASE, lora=LoRAConfig(rank=4)))
    assert isinstance(model, PeftModel)
    return save(model, tmp_path_factory.mktemp("mini")).path


def test_an_adapter_is_evaluated_as_its_merged_model_is(mini: str, tmp_path: Path) -> None:
    """Greedy, through ``src.evaluate``'s path."""
    merge(Path(mini), tmp_path / "whole")
    said = []
    for path in (mini, str(tmp_path / "whole")):
        folder = tmp_path / f"run{len(said)}"
        cfg = EvaluationConfig(
            model=ModelConfig(path=path),
            benchmark=BenchmarkConfig(size=4),
            engine=EngineConfig(kind="transformers"),
            rollout=RolloutConfig(max_tokens=40),
            sandbox=SandboxConfig(workers=1),
            evaluate=EvaluateConfig(modes=["text"], temperature=0.0),
        )
        assert run(cfg, folder)["settings"]["model"] == path
        records = iter_records(folder / "trajectories.jsonl")
        said.append(sorted((r.problem_id, "".join(s.text for s in r.segments)) for r in records))
    assert said[0] == said[1]
