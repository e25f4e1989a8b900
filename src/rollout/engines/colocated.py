"""vLLM in this process: loading, use by TRL, weight synchronisation and sleep.

TRL 1.16 builds its colocated LLM without the trainer's dtype (on a CPU it would sample in bfloat16 next to an
fp32 trainer, which hides stale weights) and without the model's revision. On vLLM's CPU build TRL's weight
synchronisation fails, since linear layers are repacked after loading; vLLM's own reload works, except for an
output head that is tied to the embedding, which keeps its packed copy of the old weights. With adapters, TRL
changes the base weights slightly at each synchronisation; src/policy/adapters.py merges exactly.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel

from src.config import EngineConfig, ModelConfig, RolloutConfig
from src.config.schema import ConfigError
from src.policy.adapters import merged_parameters
from src.policy.positions import hf_overrides

if TYPE_CHECKING:
    from trl.generation.vllm_generation import VLLMGeneration
    from vllm import LLM

_CPU_BATCH_TOKENS = 4096  # vLLM's default on a CPU


def llm_settings(engine: EngineConfig, model: ModelConfig, rollout: RolloutConfig) -> dict[str, Any]:
    """Return the arguments with which a ``vllm.LLM`` samples as the trainer's model would."""
    overrides = hf_overrides(model)
    return {
        **({"hf_overrides": overrides} if overrides else {}),
        "revision": model.revision,
        "dtype": model.dtype,
        "max_model_len": rollout.max_prompt_tokens + rollout.max_tokens,
        "max_num_seqs": engine.vllm.max_num_seqs,
        "enforce_eager": engine.vllm.eager,
        "enable_prefix_caching": True,  # the next turn of a trajectory reuses its context
        "logprobs_mode": "processed_logprobs",
        "disable_log_stats": True,
        **_unchunked_on_cpu(rollout),
    }


def _unchunked_on_cpu(rollout: RolloutConfig) -> dict[str, Any]:
    """Return settings that disable chunked prefill on a CPU.

    vLLM discards the token sampled after a chunk of a prompt and rewinds the request's generator, which a CPU
    generator does not support: a request with a seed would raise.
    """
    if torch.cuda.is_available():
        return {}
    longest = rollout.max_prompt_tokens + rollout.max_tokens
    return {"enable_chunked_prefill": False, "max_num_batched_tokens": max(_CPU_BATCH_TOKENS, longest)}


def load_llm(engine: EngineConfig, model: ModelConfig, rollout: RolloutConfig, seed: int) -> LLM:
    """Load a policy into vLLM directly, for evaluation."""
    from vllm import LLM

    return LLM(
        model=model.path,
        tensor_parallel_size=engine.vllm.tensor_parallel_size,
        gpu_memory_utilization=engine.vllm.gpu_memory_utilization,
        seed=seed,
        **llm_settings(engine, model, rollout),
    )


@contextlib.contextmanager
def trl_makes_llm_with(settings: dict[str, Any]) -> Iterator[None]:
    """Inside this context, TRL's trainers build their LLM with ``settings`` in addition to their own."""
    from trl.generation import vllm_generation as module

    original = module.LLM
    module.LLM = lambda **theirs: original(**(theirs | settings))
    try:
        yield
    finally:
        module.LLM = original


def synchronise_on_cpu(generation: VLLMGeneration) -> None:
    """Copy the trainer's weights to vLLM's CPU build; replaces ``VLLMGeneration.sync_weights``."""
    from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

    # it warns about layers without weights of their own, such as a tied head
    logging.getLogger("vllm.model_executor.model_loader.reload.layerwise").setLevel(logging.ERROR)
    runner = generation.llm.llm_engine.model_executor.driver_worker.model_runner
    runner.reload_weights(weights_iterator=generation._iter_named_params())
    head = getattr(runner.get_model(), "lm_head", None)
    if head is not None and hasattr(head, "weight"):
        dispatch_cpu_unquantized_gemm(head, remove_weight=False)
    generation.llm.reset_prefix_cache()


def patch_weight_sync(generation: VLLMGeneration) -> None:
    """Make TRL synchronise weights in a way that works on this machine and does not change them.

    Raises:
        ConfigError: the policy has adapters, and DeepSpeed ZeRO-3 shards its weights.
    """
    model = generation.model
    if isinstance(model, PeftModel):
        if generation._dist.is_zero3:
            raise ConfigError(
                f"model.lora.rank={model.active_peft_config.r}: DeepSpeed ZeRO-3 shards the base and the "
                "adapters, and gathering them for vLLM is untested; start without "
                "ZeRO-3 (a frozen base has neither gradients nor optimizer states), or set model.lora.rank=0"
            )
        generation._iter_named_params = lambda: (
            (generation._fix_param_name_to_vllm(name), tensor)
            for name, tensor in merged_parameters(model, generation.accelerator.device)
        )
    if generation.mode == "colocate" and not torch.cuda.is_available():
        generation.sync_weights = lambda: synchronise_on_cpu(generation)


class SleepingVLLM:
    """Wakes a colocated vLLM before a rollout and puts it to sleep afterwards, once per rollout.

    Sleep discards the weights, so waking synchronises them again. After TRL's own synchronisation, which
    already wakes the weights, only the key-value cache has to be allocated.
    """

    def __init__(self, generation: VLLMGeneration) -> None:
        self._generation = generation

    def wake(self) -> None:
        """See Power.wake."""
        if self._generation._llm_weights_sleeping:
            self._generation.sync_weights()
        self._generation.llm.wake_up(tags=["kv_cache"])

    def sleep(self) -> None:
        """See Power.sleep."""
        self._generation.llm.sleep(level=2)
        self._generation._llm_weights_sleeping = True
