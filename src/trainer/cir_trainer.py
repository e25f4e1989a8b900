"""CIRTrainer: TRL's GRPOTrainer with the rollout and advantages of a TrainingStep; the loss is TRL's.

This file contains only the hooks that TRL and transformers call: rollout, advantages, the order of problems,
rearranged micro-batches, a smaller forward pass and atomic checkpoints. docs/design.md lists the overridden
methods and their tests.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import Sampler
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from transformers.integrations import is_deepspeed_zero3_enabled
from transformers.trainer_callback import PrinterCallback
from trl import GRPOTrainer

from src.config import Config
from src.config.schema import ConfigError
from src.launch.checks.model_files import Notes, write_notes
from src.launch.checks.style_and_format import examples_of
from src.policy.adapters import forget_reference
from src.problems import Problem, ProblemError
from src.rollout.engines.colocated import llm_settings, patch_weight_sync, trl_makes_llm_with
from src.run import checkpoints
from src.run.disk import write_json
from src.run.processes import Ranks
from src.trainer.batches import (
    Inputs,
    MultiEpochSampler,
    by_length,
    loss_tokens,
    without_zero_advantage,
)
from src.trainer.callbacks import FinishStep
from src.trainer.forward_pass import SharesPrompts, WithoutPadding, only_labels, refuse_other_caches
from src.trainer.grpo_settings import MEANS_OVER_TOKENS, grpo_config
from src.trainer.reproducibility import conditions
from src.trainer.step import TrainingStep
from src.trainer.token_capture import ROW, TokenCapture

CURRICULUM = "curriculum.json"  # in each checkpoint
SHARE = "share"  # key in TRL's inputs: of the tokens that count in the loss of the optimizer step


def _graded(reward: list[float | None], **_: Any) -> list[float | None]:
    """TRL's reward function: returns the rewards that the rollout has computed."""
    return reward


class CIRTrainer(GRPOTrainer):
    """GRPO with code-integrated rollouts; call :meth:`attach` before training.

    Args:
        cfg: the whole configuration.
        run_dir: checkpoints are written to its subfolder ``checkpoints``.
        model: the policy.
        tokenizer: its tokenizer.
        problems: the training problems.
        kind: kind of the engine.
        callbacks: further callbacks, see TRL.
        ranks: the processes of the run.

    Attributes:
        step: the training step.
    """

    step: TrainingStep
    _buffered_inputs: list[Inputs] | None

    def __init__(
        self,
        cfg: Config,
        run_dir: Path,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        problems: Sequence[Problem],
        kind: str = "transformers",
        callbacks: list[TrainerCallback] | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self._cfg, self._problems, self._ranks = cfg, problems, ranks or Ranks()
        self._tokens = TokenCapture(cfg, run_dir, self._ranks) if cfg.records.tokens else None
        self._scored: tuple[torch.Tensor, torch.Tensor] | None = None
        prompts = cfg.trainer.batch_size // cfg.trainer.samples_per_prompt
        if len(problems) < prompts:
            raise ProblemError(
                f"{len(problems)} training problems are fewer than the {prompts} of one rollout step "
                f"(trainer.batch_size={cfg.trainer.batch_size} / trainer.samples_per_prompt="
                f"{cfg.trainer.samples_per_prompt}); give more problems, or a smaller trainer.batch_size"
            )
        os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # rollout_func is an experimental interface
        sampled_in = replace(cfg.model, dtype=cfg.trainer.autocast or cfg.model.dtype)
        colocated = llm_settings(cfg.engine, sampled_in, cfg.rollout) if kind == "vllm" else None
        with trl_makes_llm_with(colocated) if colocated else contextlib.nullcontext():
            super().__init__(
                model=model,
                reward_funcs=_graded,
                args=grpo_config(cfg, run_dir / "checkpoints", kind),
                # TRL only passes this column to rollout_func; the collector builds the prompts
                train_dataset=Dataset.from_dict({"prompt": [str(index) for index in range(len(problems))]}),
                processing_class=tokenizer,
                rollout_func=self._rollout,
                callbacks=callbacks,
            )
        if cfg.trainer.share_prompts:
            refuse_other_caches(model.config)
        forget_reference(self.model)
        if self.use_vllm:
            patch_weight_sync(self.vllm_generation)
        self.remove_callback(PrinterCallback)  # prints raw dictionaries
        self._refuse_engine(kind)

    def attach(self, step: TrainingStep) -> None:
        """Set the training step; it is built later, since its engine may be the trainer's vLLM."""
        self.step = step
        self.add_callback(FinishStep(self._finish, self._cfg.trainer.minibatches))

    def _finish(self, step: int, of_loss: dict[str, float], seconds: float) -> None:
        """Write the tokens of a step whose optimizer steps are done, then its metrics."""
        if self._tokens is not None:
            self._tokens.write()
        self.step.finish(step, of_loss, seconds)

    def _refuse_engine(self, kind: str) -> None:
        """Raise ConfigError if rollouts would hang or sample from incomplete weights."""
        version = self.accelerator.state.fsdp_plugin.fsdp_version if self.is_fsdp_enabled else 2
        if version != 2:
            raise ConfigError(
                f"fsdp_version: {version} (in the launcher's configuration): only 2 is supported; use "
                "conf/accelerate/fsdp2.yaml"
            )
        if is_deepspeed_zero3_enabled() and kind == "transformers":
            raise ConfigError(
                "engine.kind=transformers: DeepSpeed ZeRO-3 shards the weights, so rollouts would hang if "
                "processes have different numbers of turns; choose engine=vllm "
                "or engine=vllm_server, or start with conf/accelerate/fsdp2.yaml"
            )

    @property
    def shares_weights(self) -> bool:
        """Whether the weights are sharded over processes."""
        return bool(self.is_fsdp_enabled)

    def push_weights(self) -> None:
        """Synchronise the current weights to a separate engine, as TRL does before each rollout."""
        if self.use_vllm:
            self.vllm_generation.sync_weights()

    def train(self, resume_from_checkpoint: str | None = None, **options: Any) -> Any:
        """Train, optionally from a checkpoint, which also restores the state of the curriculum."""
        if resume_from_checkpoint is not None:
            self.step.curriculum.load(json.loads((Path(resume_from_checkpoint) / CURRICULUM).read_text()))
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **options)

    def _get_train_sampler(self, dataset: Any = None) -> Sampler[int]:
        """Return TRL's order of problems over all epochs, as a single epoch.

        The order of an epoch depends on the generator's state after the epochs before it, which a resumed
        run would not have. Within a single epoch, a resumed run skips the finished batches.
        """
        cfg = self._cfg.trainer
        prompts = cfg.batch_size // cfg.samples_per_prompt
        return MultiEpochSampler(
            -(-cfg.steps // (len(self._problems) // prompts)),
            data_source=self._problems,
            mini_repeat_count=cfg.samples_per_prompt,
            batch_size=prompts,
            repeat_count=self.args.steps_per_generation,
            seed=cfg.seed,
        )

    @property
    def rollout_step(self) -> int:
        """Finished rollout steps. One rollout feeds ``minibatches`` optimizer steps."""
        return self.state.global_step // self._cfg.trainer.minibatches

    def _run_epoch(self, *arguments: Any, **named: Any) -> None:
        """Do nothing if all steps are done, where transformers would run one more."""
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*arguments, **named)
        else:
            self.control.should_training_stop = True

    def _rollout(self, prompts: list[str], trainer: GRPOTrainer) -> dict[str, Any]:
        """TRL's ``rollout_func``; ``prompts`` are indices, each repeated ``num_generations`` times."""
        inputs = self.step.rollout(self.rollout_step, [int(index) for index in prompts])
        if self._tokens is not None:
            self._tokens.conditions = conditions(self.accelerator.device)
        return inputs

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Let TRL call :meth:`_rollout` and centre the rewards; then compute the advantages."""
        output = super()._generate_and_score_completions(inputs)
        response = output["completion_mask"]
        policy = response * output["tool_mask"]
        output["advantages"] = self.step.advantages(output["advantages"], policy, response, self.accelerator)
        if self._tokens is not None:
            self._tokens.begin(self.step.collected, self.step.replaced)
            output[ROW] = torch.arange(len(response), device=response.device)  # TRL shuffles it with the rest
        return output

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        """TRL's micro-batch, after those of a new rollout have been rearranged."""
        before = self._buffered_inputs
        inputs: Inputs = super()._prepare_inputs(generation_batch)
        if self._buffered_inputs is not None and self._buffered_inputs is not before:
            self._buffered_inputs = self._rearranged(self._buffered_inputs)
            inputs = self._buffered_inputs[self._step % self.args.steps_per_generation]
        return inputs

    def _rearranged(self, micro_batches: list[Inputs]) -> list[Inputs]:
        """Return the micro-batches of a rollout with little that the loss does not need, and their shares."""
        if self._cfg.trainer.skip_zero_advantage:
            micro_batches = [without_zero_advantage(one) for one in micro_batches]
        size, found = self.args.gradient_accumulation_steps, []
        for start in range(0, len(micro_batches), size):
            step = micro_batches[start : start + size]
            if self.args.loss_type != "bnpo":
                step = by_length(step, grouped=self._cfg.trainer.share_prompts)
            tokens = torch.stack([loss_tokens(one) for one in step]).double()
            tokens = self.accelerator.reduce(tokens, reduction="sum")
            shares = tokens / tokens.sum().clamp(min=1)
            found += [one | {SHARE: float(share)} for one, share in zip(step, shares, strict=True)]
        return found

    def compute_loss(self, model: Any, inputs: dict[str, Any], *arguments: Any, **named: Any) -> torch.Tensor:
        """TRL's loss of a micro-batch; its tokens are noted.

        TRL reports means over micro-batches of means over tokens; here each counts by its tokens.
        """
        metrics = self._metrics["train"]
        before = {name: len(metrics.get(name, ())) for name in MEANS_OVER_TOKENS}
        loss: torch.Tensor = super().compute_loss(model, inputs, *arguments, **named)
        equal = 1 / self.args.gradient_accumulation_steps
        for name, count in before.items():
            for place in range(count, len(metrics.get(name, ()))):
                metrics[name][place] *= inputs.get(SHARE, equal) / equal
        if self._tokens is not None and self._scored is not None:
            self._tokens.add(inputs, *self._scored, self.state.global_step)
            self._scored = None
        return loss

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Any, attention_mask: Any, logits_to_keep: int, *rest: Any, **named: Any
    ) -> Any:
        """TRL's, of a smaller forward pass; those of the loss, the only one with entropies, are kept."""
        if self._cfg.trainer.share_prompts:
            model = SharesPrompts(model)
        with only_labels():
            logprobs, entropies, of_experts = super()._get_per_token_logps_and_entropies(
                WithoutPadding(model), input_ids, attention_mask, logits_to_keep, *rest, **named
            )
        if self._tokens is not None and entropies is not None:
            self._scored = logprobs.detach(), entropies.detach()
        return logprobs, entropies, of_experts

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint to a temporary folder and publish it once it is complete."""
        folder = Path(self.args.output_dir)
        partial = folder / ".partial"
        if self._ranks.first:
            shutil.rmtree(partial, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self.args.output_dir = str(partial)
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.output_dir = str(folder)
        self.accelerator.wait_for_everyone()
        if self._ranks.first:
            written = partial / f"checkpoint-{self.state.global_step}"
            write_json(written / CURRICULUM, self.step.curriculum.state())
            write_notes(written, self._notes())
            checkpoints.publish(written, folder, self.rollout_step, self._cfg.trainer.keep_checkpoints)
            shutil.rmtree(partial)
        self.accelerator.wait_for_everyone()

    def _notes(self) -> Notes:
        """Return what a checkpoint must say of its training."""
        cfg, model = self._cfg, self._cfg.model
        adapter = model.lora.rank > 0  # which has no config.json to store its positions
        return Notes(
            prompt_style=model.prompt_style,
            format=cfg.format,
            max_positions=model.max_positions if adapter else None,
            rope=model.rope if adapter else None,
            prompt_template=model.prompt_template,
            kept_prompts=cfg.data.keep_prompt or None,
            dtype=cfg.trainer.autocast or model.dtype,
            **examples_of(model),
        )
