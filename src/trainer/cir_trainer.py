"""CIRTrainer: small hooks on TRL's GRPOTrainer. The loss is TRL's own.

What the hooks do: rollouts with code execution through ``rollout_func``, advantages (advantages.py),
exclusion of trajectories that the infrastructure spoilt, records and metrics of every rollout, checkpoints
written aside. With several processes each makes its part of a rollout; metrics are of all.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
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
from src.problems.prompts import build_prompt
from src.rollout.adapter import to_trl
from src.rollout.collector import Collected, Collector
from src.rollout.engines.colocated import llm_settings, patch_weight_sync, trl_makes_llm_with
from src.rollout.meter import Meter
from src.rollout.metrics import over_ranks, summarise
from src.rollout.trajectory import StopReason
from src.run import checkpoints
from src.run.processes import Ranks
from src.run.records import TrajectoryRecord, write_json
from src.trainer.advantages import ADVANTAGES, group_sizes
from src.trainer.batches import MultiEpochSampler, trim
from src.trainer.callbacks import OURS
from src.trainer.curriculum import Curriculum
from src.trainer.dynamic_sampling import Asked, resample_uniform_groups
from src.trainer.grpo_settings import grpo_config

CURRICULUM = "curriculum.json"  # in a checkpoint


class InfrastructureError(RuntimeError):
    """Too many trajectories of one step were lost to the infrastructure."""


def _graded(reward: list[float | None], **_: Any) -> list[float | None]:
    """The reward function that TRL calls: the rollout has graded already."""
    return reward


class CIRTrainer(GRPOTrainer):
    """GRPO with code-integrated rollouts.

    Args:
        cfg: the whole configuration.
        run_dir: checkpoints go to its folder ``checkpoints``.
        model: the policy.
        tokenizer: its tokenizer.
        problems: to train on.
        make_collector: called once with this trainer, which by then has its vLLM, if any; makes what
            makes graded trajectories.
        curriculum: rollout step to interaction budget.
        kind: of the engine.
        attempt: how often the run was resumed.
        callbacks: see TRL.
        ranks: the processes of the run.
    """

    def __init__(
        self,
        cfg: Config,
        run_dir: Path,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        problems: Sequence[Problem],
        make_collector: Callable[[CIRTrainer], Collector],
        curriculum: Curriculum,
        kind: str = "transformers",
        attempt: int = 0,
        callbacks: list[TrainerCallback] | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self._cfg, self._problems, self._ranks = cfg, problems, ranks or Ranks()
        self._curriculum, self._attempt = curriculum, attempt
        prompts = cfg.trainer.batch_size // cfg.trainer.samples_per_prompt
        if len(problems) < prompts:
            raise ProblemError(
                f"{len(problems)} training problems are fewer than the {prompts} of one rollout step "
                f"(trainer.batch_size={cfg.trainer.batch_size} / trainer.samples_per_prompt="
                f"{cfg.trainer.samples_per_prompt}); give more, or a smaller trainer.batch_size"
            )
        self._rows: list[dict[str, Any]] = []
        self.collected: Collected | None = None  # what the last rollout trains on
        self.records: list[TrajectoryRecord] = []  # of all its trajectories, for callbacks
        mode, style = cfg.rollout.mode, cfg.model.prompt_style
        os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # rollout_func is an experimental interface
        rows = [{"prompt": build_prompt(p, mode, style), "problem": i} for i, p in enumerate(problems)]
        sampled_in = replace(cfg.model, dtype=cfg.trainer.autocast or cfg.model.dtype)
        colocated = llm_settings(cfg.engine, sampled_in, cfg.rollout) if kind == "vllm" else None
        with trl_makes_llm_with(colocated) if colocated else contextlib.nullcontext():
            super().__init__(
                model=model,
                reward_funcs=_graded,
                args=grpo_config(cfg, run_dir / "checkpoints", kind),
                train_dataset=Dataset.from_list(rows),
                processing_class=tokenizer,
                rollout_func=self._rollout,
                callbacks=callbacks,
            )
        forget_reference(self.model)
        if self.use_vllm:
            patch_weight_sync(self.vllm_generation)
        self.remove_callback(PrinterCallback)  # prints raw dictionaries
        self._refuse_engine(kind)
        self._collector = make_collector(self)

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
    def meter(self) -> Meter:
        """Numbers of the rollout under way."""
        return self._collector.meter

    @property
    def shares_weights(self) -> bool:
        """Whether each process holds a part of the weights only."""
        return bool(self.is_fsdp_enabled)

    def push_weights(self) -> None:
        """Let a separate engine sample from the weights as they are now, as TRL does at each rollout."""
        if self.use_vllm:
            self.vllm_generation.sync_weights()
            self._last_loaded_step = self.state.global_step

    def train(self, resume_from_checkpoint: str | None = None, **options: Any) -> Any:
        """Train, from a checkpoint on if one is given; the curriculum goes on from its state in it."""
        if resume_from_checkpoint is not None:
            self._curriculum.load(json.loads((Path(resume_from_checkpoint) / CURRICULUM).read_text()))
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **options)

    def _get_train_sampler(self, dataset: Any = None) -> Sampler[int]:
        """TRL's order, pass after pass, as one.

        The order of a later pass depends on the passes before it, which a resumed run of several would not
        have seen; of a single pass it skips what was done, wherever it stopped.
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

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._rows = inputs  # TRL hands rollout_func the prompts alone
        output = super()._generate_and_score_completions(inputs)
        assert self.collected is not None
        tokens = (output["completion_mask"] * output["tool_mask"]).sum(dim=1)
        counts = torch.tensor([reward is not None for reward in self.collected.rewards], device=tokens.device)
        # a group may begin in one process and end in the next
        members = group_sizes(self.accelerator.gather(counts), self._cfg.trainer.samples_per_prompt)
        output["advantages"] = ADVANTAGES[self._cfg.trainer.advantage](
            output["advantages"],
            tokens,
            members[self._ranks.rank * len(counts) :][: len(counts)],
            lambda x: self.accelerator.reduce(x, reduction="sum"),
        )
        return output

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        return super()._compute_loss(model, trim(inputs))

    def _rollout(self, prompts: list[Any], trainer: GRPOTrainer) -> dict[str, Any]:
        """TRL's ``rollout_func``; ``prompts`` are already repeated ``num_generations`` times."""
        cfg, step = self._cfg.trainer, self.rollout_step
        budget = self._curriculum(step)
        first = self._ranks.rank * len(self._rows)  # equal problems follow each other, across processes
        asked = [
            (self._problems[row["problem"]], (first + index) % cfg.samples_per_prompt)
            for index, row in enumerate(self._rows)
        ]
        self.records = []
        seconds: Counter[str] = Counter()

        def collect(asked: Asked) -> Collected:
            collected = self._collector.collect(
                asked, self._cfg.rollout.mode, budget, phase="train", step=step, attempt=self._attempt
            )
            self.records += collected.records
            seconds.update(self._collector.seconds())
            return collected

        collected = collect(asked)
        metrics: dict[str, float] = {}
        if cfg.dynamic_sampling:
            rounds, draw = cfg.dynamic_sampling, f"{cfg.seed}-{step}"
            size = cfg.samples_per_prompt
            collected, metrics = resample_uniform_groups(
                collected, collect, self._problems, size, rounds, draw, self._ranks
            )
        metrics |= summarise(self.records, self._ranks) | {"budget": float(budget)}
        metrics |= over_ranks(self._ranks.gather(self._collector.metrics() | seconds))
        self._refuse_losses(metrics["stop/infrastructure"])
        self._curriculum.observe(step, metrics)
        for name, value in metrics.items():
            self._metrics["train"][OURS + name].append(value)
        self.collected = collected
        return to_trl(
            collected.trajectories,
            collected.rewards,
            mask_feedback=self._cfg.rollout.mask == "exact",
            exclude=[StopReason(reason) for reason in cfg.exclude],
        )

    def _refuse_losses(self, share: float) -> None:
        allowed = self._cfg.trainer.max_infrastructure
        if share > allowed:
            lost = [r for r in self.records if r.stop_reason == "infrastructure"]
            said = [e.error for r in lost for e in r.executions if e.status == "infrastructure"]
            count = f"{len(lost)} of {len(self.records)} trajectories"
            if self._ranks.world > 1:
                count = f"{share:.1%} of the trajectories ({count} in process {self._ranks.rank})"
            raise InfrastructureError(
                f"{count} of rollout step {self.rollout_step} "
                f"were lost to the infrastructure, more than trainer.max_infrastructure={allowed}; the "
                f"sandbox last said: {next(iter(said), None)}. Mend the sandbox and go on with trainer.resume"
            )

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
            write_json(written / CURRICULUM, self._curriculum.state())
            model = self._cfg.model  # config.json has the positions of a whole model, and an adapter has none
            positions = (model.max_positions, model.rope) if model.lora.rank else ()
            write_notes(written, Notes(model.prompt_style, *positions))
            checkpoints.publish(written, folder, self.rollout_step, self._cfg.trainer.keep_checkpoints)
            shutil.rmtree(partial)
        self.accelerator.wait_for_everyone()
