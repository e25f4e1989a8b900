"""Training and resuming adapters; what may be started with one, and what may not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from src.config import Config, EvaluationConfig, LoRAConfig, ModelConfig
from src.config.schema import ConfigError
from src.launch.checks import check
from src.policy.adapters import add_adapter
from src.run import checkpoints
from src.run.records import read_records
from tests import tiny
from tests.adapters import base_of, changed
from tests.experiment.test_several_processes import launch


@pytest.fixture
def policies(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> list[PeftModel]:
    """``tiny.trainer`` trains an adapter of a base in the dtype asked for; the policies that it has made."""
    dtype = getattr(request, "param", torch.float32)
    made: list[PeftModel] = []
    plain = tiny.model

    def model(seed: int = 0) -> PeftModel:
        base = plain(seed).to(dtype)
        base.name_or_path = "some/base"
        made.append(add_adapter(base, ModelConfig(lora=LoRAConfig(rank=4))))
        return made[-1]

    monkeypatch.setattr(tiny, "model", model)
    return made


def trained(model: PeftModel) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


class TestTraining:
    @pytest.mark.parametrize("policies", [torch.bfloat16], indirect=True)
    def test_the_adapter_learns_in_float32_and_the_base_is_frozen(
        self, tmp_path: Path, policies: list[PeftModel]
    ) -> None:
        trainer = tiny.trainer(tiny.config(), tmp_path)
        (model,) = policies
        before, first = base_of(model), trained(model)
        assert {p.dtype for p in before.values()} == {torch.bfloat16}
        assert {p.dtype for p in first.values()} == {torch.float32}
        assert all("lora_" in name for name in first)
        seen: set[str] = set()
        step = trainer.training_step

        def watch(*args: Any, **options: Any) -> torch.Tensor:
            loss = step(*args, **options)
            seen.update(name for name, p in model.named_parameters() if p.grad is not None)
            return loss

        trainer.training_step = watch  # type: ignore[method-assign]
        trainer.train()
        assert seen == set(first)
        assert changed(model, before) == 0
        assert all((p != first[name]).any() for name, p in trained(model).items())

    @pytest.mark.parametrize("kl", [0.0, pytest.param(0.1, marks=pytest.mark.long)])
    def test_resumed_run_repeats_what_the_whole_run_does(
        self, tmp_path: Path, policies: list[PeftModel], kl: float
    ) -> None:
        cfg = tiny.config(checkpoint_every=1, kl_coef=kl)
        tiny.trainer(cfg, tmp_path / "a").train()
        stopped = tiny.trainer(cfg, tmp_path / "b")
        stopped.args.max_steps = 2  # the first of two rollout steps
        stopped.train()
        checkpoint = checkpoints.resolve(tmp_path / "b")
        assert checkpoint.name == "step-1"
        tiny.trainer(cfg, tmp_path / "b", attempt=1).train(resume_from_checkpoint=str(checkpoint))
        whole, _, resumed = policies

        def said(folder: Path) -> list[Any]:
            records = read_records(folder / "trajectories.jsonl")
            return [(r.step, r.problem_id, r.sample, [s.text for s in r.segments]) for r in records]

        assert said(tmp_path / "a") == said(tmp_path / "b")
        assert trained(whole).keys() == trained(resumed).keys()
        for name, ours in trained(resumed).items():
            assert torch.equal(ours, trained(whole)[name]), name

    def test_a_checkpoint_is_an_adapter_that_names_its_base(
        self, tmp_path: Path, policies: list[PeftModel]
    ) -> None:
        trainer = tiny.trainer(tiny.config(steps=1, kl_coef=0.1), tmp_path)
        trainer.train()
        checkpoint = checkpoints.resolve(tmp_path)
        assert not [path for path in checkpoint.iterdir() if path.is_dir()], "a second adapter"
        assert not (checkpoint / "model.safetensors").exists()
        says = json.loads((checkpoint / "adapter_config.json").read_text())
        assert (says["base_model_name_or_path"], says["r"], says["lora_alpha"]) == ("some/base", 4, 32.0)
        again = PeftModel.from_pretrained(tiny.model().unload(), str(checkpoint))
        for name, weight in trained(policies[0]).items():
            assert torch.equal(again.get_parameter(name), weight)

    def test_recomputed_activations_give_the_same_gradients(
        self, tmp_path: Path, policies: list[PeftModel]
    ) -> None:
        for name, value in (("a", False), ("b", True)):
            cfg = tiny.config(steps=1, gradient_checkpointing=value)
            tiny.trainer(cfg, tmp_path / name).train()
        plain, recomputed = policies
        for name, weight in trained(plain).items():
            torch.testing.assert_close(recomputed.get_parameter(name), weight, rtol=1e-5, atol=1e-6)


@pytest.mark.long
def test_weights_that_processes_share_out_are_merged_whole_in_each(tmp_path: Path) -> None:
    """FSDP2, two processes: base and checkpoint put together by hand are what both yield."""
    launch("fsdp2", "tests/lora_job.py", str(tmp_path))
    adapter = load_file(checkpoints.resolve(tmp_path) / "adapter_model.safetensors")
    base = tiny.model().to(torch.bfloat16)
    for name, parameter in base.named_parameters():
        module = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{module}.lora_A.weight" in adapter:
            b, a = adapter[f"{module}.lora_B.weight"], adapter[f"{module}.lora_A.weight"]
            assert (b != 0).any()
            parameter.data = (parameter.detach() + 32 / 4 * (b @ a)).to(torch.bfloat16)
    expected = dict(base.named_parameters())
    for rank in (0, 1):
        merged = load_file(tmp_path / f"merged-{rank}.safetensors")
        assert merged.keys() == expected.keys()
        for name, tensor in merged.items():
            assert torch.equal(tensor, expected[name]), name


class TestWhatIsStartedWhere:
    """Training from an adapter, evaluating one, resuming with another."""

    @pytest.fixture
    def adapter(self, tmp_path: Path) -> Path:
        (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "org/model"}')
        return tmp_path

    def test_an_adapter_is_evaluated_and_not_trained(self, adapter: Path) -> None:
        model = ModelConfig(path=str(adapter))
        assert check(EvaluationConfig(model=model)) == []
        (fault,) = check(Config(model=model))
        assert "this is an adapter, but training starts from a full model" in fault
        (fault,) = check(EvaluationConfig(model=ModelConfig(path="org/model", lora=LoRAConfig(rank=4))))
        assert fault.startswith("model.lora.rank=4: an evaluation trains no adapter")

    @pytest.mark.parametrize("base", ["./nowhere", ""])
    def test_a_base_that_is_not_there(self, adapter: Path, base: str) -> None:
        (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base or None}))
        (fault,) = check(ModelConfig(path=str(adapter)), "model.")
        assert f"base model {base or repr('')} does not exist" in fault
        assert "correct base_model_name_or_path in" in fault

    def test_a_damaged_description(self, adapter: Path) -> None:
        (adapter / "adapter_config.json").write_text("{")
        with pytest.raises(ConfigError, match=r"adapter_config\.json is damaged"):
            check(ModelConfig(path=str(adapter)))

    @pytest.mark.parametrize(
        ("earlier", "now", "says"),
        [
            ({"rank": 4}, {"rank": 8}, "model.lora.rank=8: the resumed run has 4"),
            ({"rank": 4}, {"rank": 0}, "model.lora.rank=0: the resumed run has 4"),
            (None, {"rank": 4}, "model.lora.rank=4: the resumed run has 0"),
            (
                {"rank": 4, "targets": ["q_proj"]},
                {"rank": 4},
                "model.lora.targets=[all-linear]: the resumed run has [q_proj]",
            ),
            ({"rank": 4}, {"rank": 4, "dropout": 0.1}, None),
            (None, {}, None),
        ],
    )
    def test_a_run_is_resumed_with_the_adapter_that_it_has(
        self, tmp_path: Path, earlier: dict[str, Any] | None, now: dict[str, Any], says: str | None
    ) -> None:
        checkpoint = tmp_path / "checkpoints" / "step-1"
        checkpoint.mkdir(parents=True)
        (checkpoint / checkpoints.MARK).write_text('{"step": 1, "files": {}}')
        model = {"path": "org/model"} | ({"lora": earlier} if earlier else {})
        (tmp_path / "config.json").write_text(json.dumps({"model": model}))
        cfg = Config(model=ModelConfig(path="org/model", lora=LoRAConfig(**now)))
        cfg.trainer.resume, cfg.trainer.resume_force = str(tmp_path), True  # even so
        assert [fault.partition(";")[0] for fault in check(cfg)] == ([says] if says else [])
