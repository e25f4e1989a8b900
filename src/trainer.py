"""CIRTrainer: small hooks on TRL's GRPOTrainer. The loss is TRL's own.

What the hooks do: rollouts with code execution through ``rollout_func``, advantages (src/advantages.py),
exclusion of trajectories that the infrastructure spoilt, records and metrics of every rollout, checkpoints
written aside.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from transformers.trainer_callback import PrinterCallback
from trl import GRPOTrainer

from src import checkpoints
from src.advantages import ADVANTAGES, group_members
from src.config import Config
from src.curriculum import Curriculum
from src.grpo_settings import TRL_METRICS, grpo_config
from src.problems import Problem
from src.problems.prompts import build_prompt
from src.records import write_json
from src.rollout.adapter import to_trl
from src.rollout.collector import Collected, Collector
from src.rollout.engines.colocated import llm_settings, mend, trl_makes_llm_with
from src.rollout.meter import Meter
from src.rollout.metrics import summarise

_OURS = "cir/"
CURRICULUM = "curriculum.json"  # in a checkpoint


class InfrastructureError(RuntimeError):
    """Too many trajectories of one step were lost to the infrastructure."""


def _graded(reward: list[float | None], **_: Any) -> list[float | None]:
    """The reward function that TRL calls: the rollout has graded already."""
    return reward


def trim(inputs: dict[str, Any]) -> dict[str, Any]:
    """Return a micro-batch without the columns that are padding in every row.

    TRL pads to the longest trajectory of the whole rollout; most micro-batches are much shorter.
    The loss is the same, since padding is masked and rotary positions are relative.

    Args:
        inputs: what TRL's loss takes; prompts are (B, P), padded on the left, and everything about
            completions is (B, C), padded on the right.
    """
    prompt = int(inputs["prompt_mask"].sum(dim=1).max())
    width = inputs["completion_mask"].shape[1]
    completion = max(1, int(inputs["completion_mask"].sum(dim=1).max()))
    trimmed = dict(inputs)
    for name, value in inputs.items():
        if name in ("prompt_ids", "prompt_mask"):
            trimmed[name] = value[:, value.shape[1] - prompt :]
        elif isinstance(value, torch.Tensor) and value.dim() == 2 and value.shape[1] == width:
            trimmed[name] = value[:, :completion]
    return trimmed


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
    ) -> None:
        self._cfg, self._problems = cfg, problems
        self._curriculum, self._attempt = curriculum, attempt
        self._rows: list[dict[str, Any]] = []
        self.collected: Collected | None = None  # of the last rollout, for callbacks
        mode, style = cfg.rollout.mode, cfg.model.prompt_style
        os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # rollout_func is an experimental interface
        rows = [{"prompt": build_prompt(p, mode, style), "problem": i} for i, p in enumerate(problems)]
        colocated = llm_settings(cfg.engine, cfg.model, cfg.rollout) if kind == "vllm" else None
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
        if self.use_vllm:
            mend(self.vllm_generation)
        self.remove_callback(PrinterCallback)  # prints raw dictionaries
        self._collector = make_collector(self)

    @property
    def meter(self) -> Meter:
        """Numbers of the rollout under way."""
        return self._collector.meter

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

    @property
    def rollout_step(self) -> int:
        """Finished rollout steps. One rollout feeds ``minibatches`` optimizer steps."""
        return self.state.global_step // self._cfg.trainer.minibatches

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._rows = inputs  # TRL hands rollout_func the prompts alone
        output = super()._generate_and_score_completions(inputs)
        tokens = (output["completion_mask"] * output["tool_mask"]).sum(dim=1)
        assert self.collected is not None
        counts = torch.tensor([reward is not None for reward in self.collected.rewards], device=tokens.device)
        output["advantages"] = ADVANTAGES[self._cfg.trainer.advantage](
            output["advantages"],
            tokens,
            group_members(counts, self._cfg.trainer.samples_per_prompt),
            lambda x: self.accelerator.reduce(x, reduction="sum"),
        )
        return output

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        return super()._compute_loss(model, trim(inputs))

    def _rollout(self, prompts: list[Any], trainer: GRPOTrainer) -> dict[str, Any]:
        """TRL's ``rollout_func``; ``prompts`` are already repeated ``num_generations`` times."""
        step = self.rollout_step
        budget = self._curriculum(step)
        seen: Counter[int] = Counter()
        asked = []
        for row in self._rows:
            asked.append((self._problems[row["problem"]], seen[row["problem"]]))
            seen[row["problem"]] += 1
        collected = self._collector.collect(
            asked, self._cfg.rollout.mode, budget, phase="train", step=step, attempt=self._attempt
        )
        self._refuse_losses(collected)
        metrics = summarise(collected.records) | {"budget": float(budget)} | self._collector.metrics()
        self._curriculum.observe(step, metrics)
        for name, value in metrics.items():
            self._metrics["train"][_OURS + name].append(value)
        self.collected = collected
        return to_trl(
            collected.trajectories,
            collected.rewards,
            mask_feedback=self._cfg.rollout.mask == "exact",
        )

    def _refuse_losses(self, collected: Collected) -> None:
        lost = [r for r in collected.records if r.stop_reason == "infrastructure"]
        allowed = self._cfg.trainer.max_infrastructure
        if len(lost) > allowed * len(collected.records):
            error = next((e.error for r in lost for e in r.executions if e.status == "infrastructure"), None)
            raise InfrastructureError(
                f"{len(lost)} of {len(collected.records)} trajectories of rollout step {self.rollout_step} "
                f"were lost to the infrastructure, more than trainer.max_infrastructure={allowed}; the "
                f"sandbox last said: {error}. Mend the sandbox and go on with trainer.resume"
            )

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint aside and publish it when it is complete."""
        folder = Path(self.args.output_dir)
        partial = folder / ".partial"
        shutil.rmtree(partial, ignore_errors=True)
        self.args.output_dir = str(partial)
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.output_dir = str(folder)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            written = partial / f"checkpoint-{self.state.global_step}"
            write_json(written / CURRICULUM, self._curriculum.state())
            checkpoints.publish(written, folder, self.rollout_step, self._cfg.trainer.keep_checkpoints)
            shutil.rmtree(partial)


class MetricsCallback(TrainerCallback):
    """Hands each rollout step's metrics, under our names, to a sink.

    Args:
        sink: called with the rollout step (from 0) and its metrics.
        minibatches: optimizer steps per rollout step.
    """

    def __init__(self, sink: Any, minibatches: int) -> None:
        self._sink, self._minibatches = sink, minibatches
        self._start = time.perf_counter()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock at the first optimizer step of a rollout."""
        if state.global_step % self._minibatches == 0:
            self._start = time.perf_counter()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        """Rename and hand on."""
        metrics = {name[len(_OURS) :]: value for name, value in logs.items() if name.startswith(_OURS)}
        if not metrics:
            return  # TRL's closing summary of the whole run
        metrics |= {ours: logs[trl] for trl, ours in TRL_METRICS.items() if logs.get(trl) is not None}
        total = time.perf_counter() - self._start
        known = sum(metrics[f"seconds/{name}"] for name in ("generation", "execution", "grading"))
        metrics |= {"seconds/update": total - known, "seconds/step": total}
        self._sink(state.global_step // self._minibatches - 1, metrics)
