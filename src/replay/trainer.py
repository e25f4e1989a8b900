"""The trainer of a replay: CIRTrainer without an engine, which is handed recorded rollouts.

Everything that makes an update is CIRTrainer's and TRL's. Here are only the conditions of the recorded
update, and a watch over each micro-batch, which says how much each token's logprob weighs in the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from src.config import AlarmConfig, Config
from src.problems import Problem
from src.replay.rollouts import RecordedRollouts
from src.trainer.callbacks import StopCallback
from src.trainer.cir_trainer import CIRTrainer
from src.trainer.curriculum import build_curriculum
from src.trainer.reproducibility import restore
from src.trainer.step import Report, TrainingStep, no_report
from src.trainer.token_capture import ROW

# conditions of a step's update
Conditions = Callable[[int], dict[str, Any]]


@dataclass(frozen=True)
class MicroBatch:
    """What a micro-batch made of each completion token.

    Attributes:
        loss: its share of the loss.
        rows: position of each trajectory in the rollout, (B,).
        real: whether there is a token, (B, C).
        weights: minus the derivative of the loss by the token's logprob, (B, C): above 0 where the update
            makes the token more likely.
    """

    loss: float
    rows: torch.Tensor
    real: torch.Tensor
    weights: torch.Tensor


class Beside(Protocol):
    """Computes something else beside each micro-batch of one rollout step."""

    step: int

    def micro_batch(self, model: Any, inputs: list[dict[str, Any]], items: Any) -> None:
        """See Trainer.training_step; called after it."""


class _NoEngine:
    """Stands for TRL's vLLM, whose logprobs are recorded."""

    def sync_weights(self) -> None:
        """Do nothing: nothing is sampled."""


class ReplayedTrainer(CIRTrainer):
    """Repeats the updates of recorded rollout steps.

    Args:
        cfg: settings of the run.
        folder: the token columns of the replayed steps are written to its subfolder ``tokens``.
        model: the policy.
        tokenizer: its tokenizer.
        rollouts: the recorded trajectories.
        conditions: of each step.
        last: the step to end after, from 0.
        corrected: whether the loss is weighted by ``trainer.importance_sampling``.
        report: called at the end of each step.

    Attributes:
        beside: computes something else in one of the steps; None: nothing is.
        watches: whether the weights of tokens are noted.
        micro_batch: the last one, if :attr:`watches`.
    """

    def __init__(
        self,
        cfg: Config,
        folder: Path,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        rollouts: RecordedRollouts,
        conditions: Conditions,
        last: int,
        *,
        corrected: bool,
        report: Report = no_report,
    ) -> None:
        # what was sampled is settled: nothing is replaced, refused or warned of again
        trainer = replace(cfg.trainer, dynamic_sampling=0, max_infrastructure_failure_rate=1.0)
        cfg = replace(cfg, trainer=trainer, alarm=AlarmConfig())
        prompts = cfg.trainer.batch_size // cfg.trainer.samples_per_prompt
        problems = [Problem(str(index), "", "", None, None, "") for index in range(prompts)]
        stop = StopCallback(lambda: self.rollout_step > last, cfg.trainer.minibatches)
        super().__init__(cfg, folder, model, tokenizer, problems, callbacks=[stop])
        self._conditions, self.watches = conditions, False
        self.beside: Beside | None = None
        self._logprobs: torch.Tensor | None = None
        if corrected:
            self.use_vllm, self.vllm_generation = True, _NoEngine()
            self._last_loaded_step = -1
            self.vllm_importance_sampling_mode = cfg.trainer.importance_sampling
            self.vllm_importance_sampling_clip_max = cfg.trainer.importance_sampling_max
        source: Any = rollouts  # in place of a Collector
        curriculum = build_curriculum(cfg.curriculum)
        self.attach(TrainingStep(cfg, problems, source, curriculum, self._ranks, 0, report))

    def _rollout(self, prompts: list[str], trainer: Any) -> dict[str, Any]:
        """Take the trajectories from the records, then the conditions under which they were trained on."""
        inputs = super()._rollout(prompts, trainer)
        restore(self._conditions(self.rollout_step), self.accelerator.device)
        if self._tokens is not None:
            self._tokens.conditions = None  # the run has them
        return inputs

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """Repeat a micro-batch; note what its tokens weighed."""
        beside = self.beside if self.beside and self.beside.step == self.rollout_step else None
        self.watches = self.watches or beside is not None
        copies = [dict(one) for one in inputs] if beside else []  # TRL writes into them
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        if self.watches and self._logprobs is not None:
            weights = self._logprobs.grad
            if weights is None:
                weights = torch.zeros_like(self._logprobs)
            rows, real = self._rows
            self.micro_batch = MicroBatch(loss.item(), rows, real, -weights)
            self._logprobs = None
        if beside:
            beside.micro_batch(model, copies, num_items_in_batch)
        return loss

    def compute_loss(self, model: Any, inputs: dict[str, Any], *arguments: Any, **named: Any) -> torch.Tensor:
        """Note whose tokens these are."""
        loss = super().compute_loss(model, inputs, *arguments, **named)
        self._rows = inputs[ROW], inputs["completion_mask"] > 0
        return loss

    def _get_per_token_logps_and_entropies(self, *arguments: Any, **named: Any) -> Any:
        """Have the gradient of the loss's logprobs kept."""
        logprobs, entropies, rest = super()._get_per_token_logps_and_entropies(*arguments, **named)
        if self.watches and entropies is not None:
            logprobs.retain_grad()
            self._logprobs = logprobs
        return logprobs, entropies, rest

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write none: the run has them."""
