"""Weights, gradients and optimizer states to the byte; the output head, and an update as a whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trl.kernels import chunked_logprob
from trl.trainer import utils as trl_utils

from src.config import LoRAConfig, ModelConfig
from src.estimate.head import TILE_TOKENS, TILE_WORDS, head_bytes
from src.estimate.machine import Machine
from src.estimate.memory import Estimator, Memory
from src.estimate.policy import count
from tests import tiny
from tests.estimate.models import ADAPTERS, SMALL, allocated, config, folder, real

pytestmark = pytest.mark.long
GPU = Machine("GPU", gpu=True, gpus=1, memory=int(80e9), flops=1e15, timed=False)
CPU = Machine("CPU", gpu=False, gpus=1, memory=int(20e9), flops=1e11, timed=True)
SHORT = {"rollout__max_tokens": 40, "rollout__max_prompt_tokens": 20, "trainer__micro_batch_size": 2}


@pytest.fixture
def path(tmp_path: Path) -> str:
    return folder(SMALL["qwen2"], tmp_path / "qwen2")


def part(memory: Memory, name: str) -> int:
    (found,) = (part.update for part in memory.parts if part.name.startswith(name))
    return found


@pytest.mark.parametrize("lora", [LoRAConfig(), ADAPTERS], ids=["whole", "adapters"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", SMALL)
def test_weights_gradients_and_optimizer_are_what_a_step_leaves(
    name: str, dtype: str, lora: LoRAConfig, tmp_path: Path
) -> None:
    cfg = config(folder(SMALL[name], tmp_path), model__dtype=dtype, model__lora=lora, **SHORT)
    memory = Estimator(cfg).memory(cfg, CPU)
    model = real(SMALL[name], cfg.model)
    trained = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    model(input_ids=torch.ones(1, 4, dtype=torch.long)).logits.sum().backward()
    optimizer.step()
    assert part(memory, "weights") == sum(one.nbytes for one in model.parameters())
    assert part(memory, "gradients") == sum(one.grad.nbytes for one in trained)
    states = [state for states in optimizer.state.values() for state in states.values()]
    assert part(memory, "optimizer") == sum(state.nbytes for state in states)


class TestSharing:
    """Of what each GPU holds: DDP everything and a copy of the gradients, FSDP2 and ZeRO-3 a part."""

    @staticmethod
    def memory(path: str, gpus: int, **values: Any) -> Memory:
        cfg = config(path, **(SHORT | values))
        machine = Machine("GPU", True, gpus, int(80e9), 1e15, False)
        return Estimator(cfg).memory(cfg, machine)

    def test_ddp(self, path: str) -> None:
        alone, four = self.memory(path, 1), self.memory(path, 4)
        assert four.update - alone.update == part(alone, "gradients")

    @pytest.mark.parametrize("sharding", ["fsdp2", "zero3"])
    def test_a_part_each(self, path: str, sharding: str) -> None:
        alone = self.memory(path, 1, hardware__sharding=sharding)
        four = self.memory(path, 4, hardware__sharding=sharding)
        for name in ("weights", "gradients", "optimizer"):
            assert part(four, name) == part(alone, name) // 4

    def test_bytes_of_a_trained_weight_in_16_bits(self, path: str) -> None:
        """FSDP2 makes trained weights float32 under autocast; ZeRO-3 keeps those beside 16-bit ones."""
        total = count(SMALL["qwen2"], ModelConfig()).total
        options = {"model__dtype": "bfloat16", "trainer__autocast": "bfloat16"}
        names = ("weights", "gradients", "optimizer")
        for sharding, expected in (("none", (2, 2, 4)), ("fsdp2", (4, 4, 8)), ("zero3", (2, 2, 12))):
            memory = self.memory(path, 2, hardware__sharding=sharding, **options)
            over = 1 if sharding == "none" else 2
            assert [round(over * part(memory, name) / total, 2) for name in names] == list(expected)

    def test_the_reference_model(self, path: str) -> None:
        plain, kl = self.memory(path, 1), self.memory(path, 1, trainer__kl_coef=0.1)
        assert kl.update - plain.update == part(plain, "weights")
        assert kl.rollout - plain.rollout == part(plain, "weights")
        adapters = self.memory(path, 1, trainer__kl_coef=0.1, model__lora=ADAPTERS)
        assert not any(part.name == "reference model" for part in adapters.parts)


class TestVLLM:
    @staticmethod
    def memory(path: str, machine: Machine = GPU, **values: Any) -> Memory:
        cfg = config(path, **(SHORT | {"engine__kind": "vllm"} | values))
        return Estimator(cfg).memory(cfg, machine)

    def test_its_share_is_taken_all_the_time_unless_it_sleeps(self, path: str) -> None:
        awake = self.memory(path, engine__vllm__gpu_memory_utilization=0.5)
        asleep = self.memory(path, engine__vllm__gpu_memory_utilization=0.5, engine__vllm__sleep=True)
        assert awake.update - asleep.update == awake.vllm.share == int(40e9)
        assert awake.rollout == asleep.rollout

    def test_what_is_left_holds_keys_and_values(self, path: str) -> None:
        vllm = self.memory(path, model__dtype="bfloat16").vllm
        assert vllm.weights == count(SMALL["qwen2"], ModelConfig(dtype="bfloat16")).weights
        assert vllm.per_token == 5 * 2 * 32 * 2 * 2
        assert vllm.share == vllm.weights + vllm.working + vllm.cache
        assert vllm.sequences == vllm.cache // (60 * vllm.per_token)

    def test_it_samples_in_what_passes_are_computed_in(self, path: str) -> None:
        assert (
            2 * self.memory(path, trainer__autocast="bfloat16").vllm.weights == self.memory(path).vllm.weights
        )

    def test_without_room_for_a_trajectory_nothing_fits(self, path: str) -> None:
        starved = self.memory(path, engine__vllm__gpu_memory_utilization=0.0001)
        assert starved.needed < starved.usable
        assert not starved.fits
        assert self.memory(path).fits

    def test_auto_means_vllm_on_a_gpu(self, path: str) -> None:
        assert self.memory(path, engine__kind="auto").vllm is not None
        assert self.memory(path, CPU, engine__kind="auto").vllm is None


def test_trl_makes_tiles_as_large_as_is_assumed() -> None:
    assert chunked_logprob.TOKEN_CHUNK_SIZE == TILE_TOKENS
    assert trl_utils._CHUNKED_LOGPROB_CHUNK_SIZE == TILE_WORDS


@pytest.mark.parametrize("gpu", [False, True], ids=["torch", "kernels"])
@pytest.mark.parametrize(
    ("weights", "autocast"), [("float32", False), ("bfloat16", False), ("float32", True)], ids=str
)
def test_the_head_takes_what_the_allocator_gives(
    weights: str, autocast: bool, gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU's kernels work in the tile and add in place, which is as good as doing nothing here."""
    if gpu:
        for name in ("_forward_tile", "_backward_tile", "_addmm_fp32"):
            monkeypatch.setattr(chunked_logprob, name, lambda *args, **kwargs: None)
    words, width, tokens = 40_000, 64, 300
    dtype = getattr(torch, weights)
    head = torch.randn(words, width, dtype=dtype, requires_grad=True)
    states = torch.randn(2 * tokens, width, dtype=dtype, requires_grad=True)
    chosen = torch.randint(0, words, (tokens,))

    def there() -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            scored = chunked_logprob.ChunkedLogProbFunction.apply(
                states[::2].contiguous(), head, None, chosen, 1.0, TILE_WORDS, None, 1.0, ("entropy",)
            )
        return scored[0].sum()

    there().backward()
    kept, most, back = allocated(there, lambda loss: loss.backward())
    p = count(SMALL["qwen2"], ModelConfig())
    p = type(p)(**{**p.__dict__, "head": words * width, "trains_head": True})
    size = dtype.itemsize
    estimate = head_bytes(
        p, tokens=tokens, width=width, weights=size, hidden=size, computed=2 if autocast else size, gpu=gpu
    )
    assert estimate.kept == pytest.approx(kept, rel=0.15)
    assert estimate.kept + estimate.backward == pytest.approx(back, rel=0.15)
    if gpu:
        assert estimate.kept + estimate.forward == pytest.approx(most, rel=0.15)


@pytest.mark.parametrize(
    "values",
    [{}, {"gradient_checkpointing": True}, {"autocast": "bfloat16"}],
    ids=["plain", "checkpointing", "autocast"],
)
def test_an_update_takes_what_the_allocator_gives(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trainer's own loss, and the backward pass, beside weights and gradients."""
    monkeypatch.setattr(tiny, "model", lambda seed: real(SMALL["qwen2"], ModelConfig()))
    cfg = tiny.config(**values, micro_batch_size=4)
    cfg.rollout.max_tokens, cfg.rollout.max_prompt_tokens = 90, 30
    cfg.model.path = folder(SMALL["qwen2"], tmp_path / "qwen2")
    trainer = tiny.trainer(cfg, tmp_path)
    trainer.current_gradient_accumulation_steps = 2
    model = trainer.accelerator.prepare(trainer.model).train()
    if values.get("gradient_checkpointing"):
        model.gradient_checkpointing_enable({"use_reentrant": False})
    inputs = padded_batch(rows=4, prompt=30, completion=90)

    def loss() -> torch.Tensor:
        return trainer._compute_loss(model, inputs)

    loss().backward()
    back: Callable[[torch.Tensor], None] = torch.Tensor.backward
    _, *most = allocated(loss, back)
    memory = Estimator(cfg).memory(cfg, CPU)
    estimate = part(memory, "activations") + part(memory, "output head")
    assert estimate == pytest.approx(max(most), rel=0.05)


def padded_batch(rows: int, prompt: int, completion: int) -> dict[str, Any]:
    prompt_mask = torch.ones(rows, prompt, dtype=torch.long)
    prompt_mask[0, :5] = 0
    completion_mask = torch.ones(rows, completion, dtype=torch.long)
    return {
        "prompt_ids": torch.randint(0, 500, (rows, prompt)),
        "prompt_mask": prompt_mask,
        "completion_ids": torch.randint(0, 500, (rows, completion)),
        "completion_mask": completion_mask,
        "tool_mask": completion_mask,
        "advantages": torch.randn(rows),
        "num_items_in_batch": completion_mask.sum(),
    }
