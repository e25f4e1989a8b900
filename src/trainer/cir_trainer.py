"""CIRTrainer: a TrainingStep (step.py) hung into TRL's GRPOTrainer. The loss is TRL's own.

Here is only what TRL and transformers must call, each a few lines: rollout and advantages, the order of the
problems, trimmed micro-batches, and checkpoints that are written aside. docs/design.md lists what is
overridden, and which test pins it.
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
from src.policy.adapters import forget_reference
from src.problems import Problem, ProblemError
from src.rollout.engines.colocated import llm_settings, patch_weight_sync, trl_makes_llm_with
from src.run import checkpoints
from src.run.processes import Ranks
from src.run.records import write_json
from src.trainer.batches import MultiEpochSampler, trim
from src.trainer.callbacks import FinishStep
from src.trainer.grpo_settings import grpo_config
from src.trainer.step import TrainingStep

CURRICULUM = "curriculum.json"  # in a checkpoint


def _graded(reward: list[float | None], **_: Any) -> list[float | None]:
    """The reward function that TRL calls: the rollout has graded already."""
    return reward


class CIRTrainer(GRPOTrainer):
    """GRPO with code-integrated rollouts; :meth:`attach` a step before it trains.

    Args:
        cfg: the whole configuration.
        run_dir: checkpoints go to its folder ``checkpoints``.
        model: the policy.
        tokenizer: its tokenizer.
        problems: to train on.
        kind: of the engine.
        callbacks: see TRL.
        ranks: the processes of the run.

    Attributes:
        step: what happens in a step of training.
    """

    step: TrainingStep

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
        prompts = cfg.trainer.batch_size // cfg.trainer.samples_per_prompt
        if len(problems) < prompts:
            raise ProblemError(
                f"{len(problems)} training problems are fewer than the {prompts} of one rollout step "
                f"(trainer.batch_size={cfg.trainer.batch_size} / trainer.samples_per_prompt="
                f"{cfg.trainer.samples_per_prompt}); give more, or a smaller trainer.batch_size"
            )
        os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # rollout_func is an experimental interface
        sampled_in = replace(cfg.model, dtype=cfg.trainer.autocast or cfg.model.dtype)
        colocated = llm_settings(cfg.engine, sampled_in, cfg.rollout) if kind == "vllm" else None
        with trl_makes_llm_with(colocated) if colocated else contextlib.nullcontext():
            super().__init__(
                model=model,
                reward_funcs=_graded,
                args=grpo_config(cfg, run_dir / "checkpoints", kind),
                # TRL hands this column to rollout_func, and reads it no further: the collector builds prompts
                train_dataset=Dataset.from_dict({"prompt": [str(index) for index in range(len(problems))]}),
                processing_class=tokenizer,
                rollout_func=self._rollout,
                callbacks=callbacks,
            )
        forget_reference(self.model)
        if self.use_vllm:
            patch_weight_sync(self.vllm_generation)
        self.remove_callback(PrinterCallback)  # prints raw dictionaries
        self._refuse_engine(kind)

    def attach(self, step: TrainingStep) -> None:
        """Train by ``step``, which is made after the trainer: its engine may be the trainer's own vLLM."""
        self.step = step
        self.add_callback(FinishStep(step.finish, self._cfg.trainer.minibatches))

    def _refuse_engine(self, kind: str) -> None:
        """Raise ConfigError for what would hang or sample from half a model."""
        version = self.accelerator.state.fsdp_plugin.fsdp_version if self.is_fsdp_enabled else 2
        if version != 2:
            raise ConfigError(
                f"fsdp_version: {version} (of the launcher's configuration): only 2 is supported; take "
                "conf/accelerate/fsdp2.yaml"
            )
        if is_deepspeed_zero3_enabled() and kind == "transformers":
            raise ConfigError(
                "engine.kind=transformers: under DeepSpeed ZeRO-3 each process holds a part of the weights, "
                "and rollouts in which processes take other numbers of turns would hang; choose engine=vllm "
                "or engine=vllm_server, or start with conf/accelerate/fsdp2.yaml"
            )

    @property
    def shares_weights(self) -> bool:
        """Whether each process holds a part of the weights only."""
        return bool(self.is_fsdp_enabled)

    def push_weights(self) -> None:
        """Let a separate engine sample from the weights as they are now, as TRL does at each rollout."""
        if self.use_vllm:
            self.vllm_generation.sync_weights()

    def train(self, resume_from_checkpoint: str | None = None, **options: Any) -> Any:
        """Train, from a checkpoint on if one is given; the curriculum goes on from its state in it."""
        if resume_from_checkpoint is not None:
            self.step.curriculum.load(json.loads((Path(resume_from_checkpoint) / CURRICULUM).read_text()))
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **options)

    def _get_train_sampler(self, dataset: Any = None) -> Sampler[int]:
        """TRL's order, epoch after epoch, as one.

        The order of a later epoch depends on those before it, which a resumed run of several would not
        have seen; of a single epoch it skips what was done, wherever it stopped.
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
        """Of a run that was stopped after its last step nothing is left; transformers would take one more."""
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*arguments, **named)
        else:
            self.control.should_training_stop = True

    def _rollout(self, prompts: list[str], trainer: GRPOTrainer) -> dict[str, Any]:
        """TRL's ``rollout_func``; ``prompts`` are already repeated ``num_generations`` times."""
        return self.step.rollout(self.rollout_step, [int(index) for index in prompts])

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """TRL rolls out, by :meth:`_rollout`, and centers the rewards; the advantages are ours."""
        output = super()._generate_and_score_completions(inputs)
        policy_mask = output["completion_mask"] * output["tool_mask"]
        output["advantages"] = self.step.advantages(output["advantages"], policy_mask, self.accelerator)
        return output

    def compute_loss(self, model: Any, inputs: dict[str, Any], *arguments: Any, **named: Any) -> torch.Tensor:
        """TRL's loss of a micro-batch, without columns of padding."""
        return super().compute_loss(model, trim(inputs), *arguments, **named)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint aside and publish it when it is complete."""
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
            model = self._cfg.model  # config.json has the positions of a whole model, and an adapter has none
            positions = (model.max_positions, model.rope) if model.lora.rank else ()
            write_notes(written, Notes(model.prompt_style, self._cfg.format, *positions))
            checkpoints.publish(written, folder, self.rollout_step, self._cfg.trainer.keep_checkpoints)
            shutil.rmtree(partial)
        self.accelerator.wait_for_everyone()
