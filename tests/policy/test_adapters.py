"""Low-rank adapters: the base stays as it is, bit for bit, and what vLLM gets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel
from trl.distributed import DistributedBackend
from trl.generation.vllm_generation import VLLMGeneration

from src.config import LoRAConfig, ModelConfig
from src.config.schema import ConfigError
from src.launch.checks import check
from src.policy.adapters import add_adapter, merged_parameters
from src.rollout.engines import Request
from src.rollout.engines.colocated import patch_weight_sync
from src.rollout.engines.transformers import TransformersEngine
from tests import tiny
from tests.adapters import adapted, base_of, changed, randomise
from tests.fakes import BPE

CYCLES = 200
HALF_UNIT = 2.0**-8  # largest relative error of rounding to bfloat16 once


class Broken(RuntimeError):
    pass


class Receiver:
    """Stands for vLLM: TRL's client of a server, and a model in this process.

    Args:
        most: so many tensors are taken, then it breaks.
    """

    def __init__(self, most: int | None = None) -> None:
        self.received: dict[str, torch.Tensor] = {}
        self.most = most
        self.llm_engine = SimpleNamespace(
            model_executor=SimpleNamespace(
                driver_worker=SimpleNamespace(model_runner=SimpleNamespace(model=self))
            )
        )

    def load_weights(self, pairs: list[tuple[str, torch.Tensor]]) -> None:
        for name, tensor in pairs:
            if len(self.received) == self.most:
                raise Broken
            self.received[name] = tensor.clone()

    def update_named_params(self, metadata: list[Any], params: Iterator[tuple[str, torch.Tensor]]) -> None:
        self.received = {}
        for (name, dtype, shape), (given, tensor) in zip(metadata, params, strict=True):
            assert (given, str(tensor.dtype), list(tensor.shape)) == (name, f"torch.{dtype}", shape)
            self.load_weights([(name, tensor)])

    def reset_prefix_cache(self) -> None:
        pass


def generation(
    model: nn.Module, mode: str, receiver: Receiver | None = None, zero_stage: int = 0
) -> VLLMGeneration:
    """TRL's own, without a vLLM behind it."""
    made = VLLMGeneration.__new__(VLLMGeneration)
    made.model, made.mode, made.enable_sleep_mode, made._weight_metadata = model, mode, False, None
    made.llm = made.vllm_client = receiver or Receiver()
    plugin = SimpleNamespace(zero_stage=zero_stage) if zero_stage else None
    made.accelerator = SimpleNamespace(
        is_main_process=True, device=torch.device("cpu"), state=SimpleNamespace(deepspeed_plugin=plugin)
    )
    made._dist = DistributedBackend(made.accelerator)
    return made


@pytest.fixture(params=["server", "colocate"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both of TRL's ways; that of vLLM's CPU build is in tests/rollout/test_engine_vllm.py."""
    if request.param == "colocate":
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    return str(request.param)


class TestSynchronisation:
    def test_two_hundred_times_leave_the_base_as_it_was_where_trl_alone_does_not(self, mode: str) -> None:
        ours, theirs = adapted(dtype=torch.bfloat16), adapted(dtype=torch.bfloat16)
        before = base_of(ours)
        mended, plain = generation(ours, mode), generation(theirs, mode)
        patch_weight_sync(mended)
        drift = []
        for cycle in range(CYCLES):
            for one in (mended, plain):
                randomise(one.model, cycle)
                one.sync_weights()
            drift.append(changed(theirs, before))
        assert changed(ours, before) == 0
        total = sum(weight.numel() for weight in before.values())
        assert drift[0] > 0.2 * total
        assert drift[-1] > drift[0]

    def test_what_arrives_is_the_merged_model_under_the_names_of_the_plain_one(self, mode: str) -> None:
        mended = generation(adapted(dtype=torch.bfloat16), mode)
        patch_weight_sync(mended)
        mended.sync_weights()
        merged = dict(adapted(dtype=torch.bfloat16).merge_and_unload().named_parameters())
        assert list(mended.llm.received) == list(merged) == [n for n, _ in tiny.model().named_parameters()]
        for name, tensor in mended.llm.received.items():
            assert tensor.dtype == torch.bfloat16
            assert torch.equal(tensor, merged[name])

    def test_one_that_breaks_half_way_leaves_the_base_too(self, mode: str) -> None:
        ours, theirs = adapted(), adapted()
        before = base_of(ours)
        mended, plain = (generation(model, mode, Receiver(most=5)) for model in (ours, theirs))
        patch_weight_sync(mended)
        for one in (mended, plain):
            with pytest.raises(Broken):
                one.sync_weights()
        assert changed(ours, before) == 0
        assert changed(theirs, before) > 0

    def test_a_policy_without_adapters_goes_trls_way(self) -> None:
        mended = generation(tiny.model(), "server")
        patch_weight_sync(mended)
        assert "_iter_named_params" not in vars(mended)

    def test_shares_that_deepspeed_holds_are_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"model\.lora\.rank=4: DeepSpeed ZeRO-3"):
            patch_weight_sync(generation(adapted(), "server", zero_stage=3))


class TestMerging:
    def test_it_is_rounded_once(self) -> None:
        model = adapted(dtype=torch.bfloat16)
        merged = dict(merged_parameters(model))
        layers = {n: m for n, m in model.get_base_model().named_modules() if hasattr(m, "lora_A")}
        assert len(layers) == 2 * 7
        for name, layer in layers.items():
            a, b = (one["default"].weight.double() for one in (layer.lora_A, layer.lora_B))
            exact = layer.base_layer.weight.double() + 32 / 4 * b @ a
            error = (merged[f"{name}.weight"].double() - exact).abs()
            assert (error <= HALF_UNIT * exact.abs() + 1e-7).all()

    def test_the_merged_model_says_what_the_adapted_one_says(self) -> None:
        model, plain = adapted(), tiny.model(seed=1)
        plain.load_state_dict(dict(merged_parameters(model)), strict=False)
        plain.tie_weights()
        ids = torch.randint(0, 200, (3, 50), generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            expected, found, bare = (
                one(ids).logits.log_softmax(-1) for one in (model.eval(), plain.eval(), tiny.model().eval())
            )
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        assert (bare - expected).abs().mean() > 0.01

    def test_biases_and_matrices_stored_the_other_way(self) -> None:
        """GPT-2's; against PEFT's own merge."""
        model = GPT2LMHeadModel(GPT2Config(vocab_size=99, n_positions=16, n_embd=8, n_layer=2, n_head=2))
        names = [name for name, _ in model.named_parameters()]
        wrapped = adapted(model)
        merged = dict(merged_parameters(wrapped))
        assert list(merged) == names
        assert all(tensor.is_contiguous() for tensor in merged.values())
        for name, tensor in wrapped.merge_and_unload().named_parameters():
            torch.testing.assert_close(merged[name], tensor, rtol=1e-6, atol=1e-6)

    def test_tokens_sampled_through_the_adapter_are_those_of_the_merged_model(self) -> None:
        """Greedy, in batches, with the cache that grows in place."""
        wrapped = adapted()
        merged = tiny.model(seed=1)
        merged.load_state_dict(dict(merged_parameters(wrapped)), strict=False)
        merged.tie_weights()

        def sampled(model: PreTrainedModel) -> list[list[int]]:
            engine = TransformersEngine(model, BPE, temperature=0.0, top_p=1.0, batch_size=2)
            for index, text in enumerate(("a", "Problem: 12", "x" * 40)):
                engine.submit(Request(index, BPE.encode(text), 10 * index + 3))
            done = []
            while engine.pending:
                done += engine.poll()
            return [one.token_ids for one in sorted(done, key=lambda one: one.id)]

        assert wrapped.training
        assert sampled(wrapped) == sampled(merged) != sampled(tiny.model())
        assert wrapped.training


class TestTargets:
    @pytest.mark.parametrize(
        ("target", "says"),
        [
            ("q_prj", r"targets\[0\]=q_prj: no module of this model; did you mean q_proj\?"),
            ("xyz", "no module of this model; name one of down_proj, gate_proj, k_proj, o_proj, q_proj, up"),
            ("mlp", "that is not linear; name one of down_proj, gate_proj, up_proj"),
            ("lm_head", "lm_head is the embedding or the output head"),
            ("model.embed_tokens", "embed_tokens is the embedding or the output head"),
        ],
    )
    def test_what_cannot_be_adapted_is_refused_by_name(self, target: str, says: str) -> None:
        with pytest.raises(ConfigError, match=says):
            add_adapter(tiny.model(), ModelConfig(lora=LoRAConfig(rank=4, targets=[target, "q_proj"])))

    def test_names_choose_modules(self) -> None:
        model = adapted(targets=["q_proj", "model.layers.1.mlp.up_proj"])
        layers = {
            name for name, module in model.get_base_model().named_modules() if hasattr(module, "lora_A")
        }
        attention = {f"model.layers.{index}.self_attn.q_proj" for index in (0, 1)}
        assert layers == attention | {"model.layers.1.mlp.up_proj"}

    @pytest.mark.parametrize(
        ("targets", "says"),
        [
            ([], r"targets=\[\]: no module would have an adapter; give \[all-linear\]"),
            (["all-linear", "q_proj"], "all-linear includes all modules; give it alone"),
            (["q_proj", "lm_head"], "lm_head is the embedding or the output head"),
            (["model.embed_tokens"], "embed_tokens is the embedding or the output head"),
        ],
    )
    def test_what_can_be_refused_before_a_model_is_loaded(self, targets: list[str], says: str) -> None:
        lora = LoRAConfig(rank=4, targets=targets)
        (fault,) = check(ModelConfig(path="org/model", lora=lora), "model.")
        assert fault.startswith("model.lora.targets=")
        assert re.search(says, fault)
        assert check(ModelConfig(path="org/model", lora=LoRAConfig(targets=targets))) == []
