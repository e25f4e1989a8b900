"""A vLLM in this process: loaded, put into TRL's hands, kept at the trainer's weights, put to sleep.

TRL 1.16 makes its colocated LLM without the trainer's dtype (on a CPU it would sample in bfloat16 beside an
fp32 trainer, which hides stale weights) and without the model's revision. On vLLM's CPU build its weight
synchronisation fails, since linear layers are repacked once loaded; vLLM's own reload works, except for an
output head that is tied to the embedding, which keeps its packed copy of the old weights. Of a policy with
adapters TRL's changes the base a little each time; src/policy/adapters.py has it exact.
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

_CPU_BATCH_TOKENS = 4096  # vLLM's own default there


def llm_settings(engine: EngineConfig, model: ModelConfig, rollout: RolloutConfig) -> dict[str, Any]:
    """What a ``vllm.LLM`` must be told so that it samples as the trainer's model would."""
    overrides = hf_overrides(model)
    return {
        **({"hf_overrides": overrides} if overrides else {}),
        "revision": model.revision,
        "dtype": model.dtype,
        "max_model_len": rollout.max_prompt_tokens + rollout.max_tokens,
        "max_num_seqs": engine.vllm.max_num_seqs,
        "enforce_eager": engine.vllm.eager,
        "enable_prefix_caching": True,  # a continuation finds its context there
        "logprobs_mode": "processed_logprobs",
        "disable_log_stats": True,
        **_unchunked_on_cpu(rollout),
    }


def _unchunked_on_cpu(rollout: RolloutConfig) -> dict[str, Any]:
    """Let a prompt be prefilled as a whole where there is no GPU.

    vLLM throws away what it samples after a part of a prompt, and takes the draw back by rewinding the
    request's generator, which a generator on the CPU cannot do: a request with a seed would raise.
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
    """While this lasts, TRL's trainers make their LLM with ``settings`` on top of their own."""
    from trl.generation import vllm_generation as module

    original = module.LLM
    module.LLM = lambda **theirs: original(**(theirs | settings))
    try:
        yield
    finally:
        module.LLM = original


def synchronise_on_cpu(generation: VLLMGeneration) -> None:
    """Give the trainer's weights to vLLM's CPU build; replaces ``VLLMGeneration.sync_weights``."""
    from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

    # it warns of layers that have no weights of their own, a tied head among them
    logging.getLogger("vllm.model_executor.model_loader.reload.layerwise").setLevel(logging.ERROR)
    runner = generation.llm.llm_engine.model_executor.driver_worker.model_runner
    runner.reload_weights(weights_iterator=generation._iter_named_params())
    head = getattr(runner.get_model(), "lm_head", None)
    if head is not None and hasattr(head, "weight"):
        dispatch_cpu_unquantized_gemm(head, remove_weight=False)
    generation.llm.reset_prefix_cache()


def patch_weight_sync(generation: VLLMGeneration) -> None:
    """Let TRL synchronise weights by what works on this machine, and leaves them as they are.

    Raises:
        ConfigError: the policy has adapters, and its weights are shared out by DeepSpeed ZeRO-3.
    """
    model = generation.model
    if isinstance(model, PeftModel):
        if generation._dist.is_zero3:
            raise ConfigError(
                f"model.lora.rank={model.active_peft_config.r}: under DeepSpeed ZeRO-3 each process holds a "
                "part of base and adapters, and putting them together for vLLM is untested; start without "
                "ZeRO-3 (a frozen base has neither gradients nor optimizer states), or set model.lora.rank=0"
            )
        generation._iter_named_params = lambda: (
            (generation._fix_param_name_to_vllm(name), tensor)
            for name, tensor in merged_parameters(model, generation.accelerator.device)
        )
    if generation.mode == "colocate" and not torch.cuda.is_available():
        generation.sync_weights = lambda: synchronise_on_cpu(generation)


class SleepingVLLM:
    """Wakes a colocated vLLM for a rollout and puts it to sleep after it: once each, not once a turn.

    Sleep discards the weights, so that waking pushes them again; after TRL's own synchronisation, which
    wakes the weights, only room for keys and values is missing.
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
