"""Translates the configuration into TRL's GRPOConfig, and lists the TRL metrics that are reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from trl import GRPOConfig

from src.config import Config
from src.run.processes import world_size
from src.trainer.advantages import scale_rewards

# Reported under TRL's names; all other metrics are measured by this project over whole trajectories.
TRL_METRICS = (
    *("loss", "grad_norm", "learning_rate", "entropy", "kl"),
    *("clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean"),
    "frac_reward_zero_std",
    # only for engines that return logprobs: trainer minus engine, over sampled tokens
    *("sampling/sampling_logp_difference/mean", "sampling/sampling_logp_difference/max"),
    *("sampling/importance_sampling_ratio/mean", "sampling/importance_sampling_ratio/max"),
)
MEANS_OVER_TOKENS = (
    *("entropy", "kl"),
    *("clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean"),
)


def grpo_config(cfg: Config, folder: Path, kind: str = "transformers") -> GRPOConfig:
    """Return the TRL settings of each process, for an engine of ``kind``."""
    trainer, rollout = cfg.trainer, cfg.rollout
    micro_batches = trainer.batch_size // (trainer.micro_batch_size * world_size())
    return GRPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=trainer.micro_batch_size,
        gradient_accumulation_steps=micro_batches // trainer.minibatches,
        steps_per_generation=micro_batches,
        num_generations=trainer.samples_per_prompt,
        max_steps=trainer.steps * trainer.minibatches,
        max_completion_length=rollout.max_tokens,
        temperature=rollout.temperature,
        top_p=rollout.top_p,
        learning_rate=trainer.learning_rate,
        lr_scheduler_type=trainer.lr_schedule
        if trainer.lr_schedule != "constant"
        else "constant_with_warmup",
        warmup_steps=trainer.warmup_steps,
        weight_decay=trainer.weight_decay,
        adam_beta2=trainer.adam_beta2,
        max_grad_norm=trainer.max_grad_norm,
        epsilon=trainer.clip_low,
        epsilon_high=trainer.clip_high,
        delta=trainer.dual_clip,
        beta=trainer.kl_coef,
        # for the reference policy, which TRL loads by name
        model_init_kwargs={"revision": cfg.model.revision}
        if trainer.kl_coef and cfg.model.revision
        else None,
        entropy_coef=trainer.entropy_coef,
        loss_type=trainer.loss_type,
        scale_rewards=scale_rewards(trainer.advantage),
        mask_truncated_completions=False,
        logging_steps=trainer.minibatches,
        save_strategy="steps",
        save_steps=(trainer.checkpoint_every or trainer.steps) * trainer.minibatches,
        gradient_checkpointing=trainer.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        bf16=trainer.autocast == "bfloat16",
        fp16=trainer.autocast == "float16",
        ddp_find_unused_parameters=False,
        ddp_timeout=int(trainer.rank_timeout),
        use_cpu=not torch.cuda.is_available(),
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        seed=trainer.seed,
        **_vllm_options(cfg, kind),
    )


def _vllm_options(cfg: Config, kind: str) -> dict[str, Any]:
    """Return TRL's settings for a vLLM engine; empty for other engines."""
    if kind == "transformers":
        return {}
    trainer, engine = cfg.trainer, cfg.engine
    corrects = trainer.importance_sampling != "none"
    return {
        "use_vllm": True,
        "vllm_mode": "server" if kind == "vllm_server" else "colocate",
        "vllm_server_base_url": engine.server.url,
        "vllm_server_timeout": engine.server.start_seconds,
        "vllm_group_port": engine.server.group_port,
        "vllm_gpu_memory_utilization": engine.vllm.gpu_memory_utilization,
        "vllm_enable_sleep_mode": engine.vllm.sleep,
        "vllm_importance_sampling_correction": corrects,
        "vllm_importance_sampling_mode": trainer.importance_sampling if corrects else "token_truncate",
        "vllm_importance_sampling_clip_max": trainer.importance_sampling_max,
    }
