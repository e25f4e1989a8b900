"""One training step, in order. TRL computes the loss and the gradient; the rest is here.

::

    budget        how many executions a trajectory may use at this step            curriculum.py
    rollout       problems -> trajectories, executed, graded, recorded             src/rollout/collector.py
    resampling    groups whose rewards are all equal are replaced                  dynamic_sampling.py
    metrics       of all trajectories; too many failed ones end the run            src/rollout/metrics.py
    masks         token ids, loss masks and rewards for TRL                        src/rollout/adapter.py
    (TRL)         rewards minus their group's mean; padding; logprobs of the old and the reference policy
    advantages    one per trajectory                                               advantages.py
    (TRL)         shuffling; loss, gradient and optimizer step of every minibatch
    metrics       of the loss, added to those of the rollout; alarms; report       src/run/alarms.py

:class:`TrainingStep` has a method for each part between two parts of TRL; cir_trainer.py calls them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from accelerate import Accelerator

from src.config import Config
from src.problems import Problem
from src.rollout.adapter import to_trl
from src.rollout.collector import Collected, Collector
from src.rollout.metrics import over_ranks, summarise
from src.rollout.trajectory import StopReason
from src.run.alarms import Alarm, build_alarms, stop_if_asked
from src.run.processes import Ranks
from src.run.records import Occasion, TrajectoryRecord
from src.sandbox import InfrastructureError
from src.trainer.advantages import build_advantage, group_sizes
from src.trainer.curriculum import Curriculum
from src.trainer.dynamic_sampling import Samples, resample_uniform_groups

# rollout step, its metrics, the alarms that fired
Report = Callable[[int, dict[str, float], Sequence[Alarm]], None]


def no_report(step: int, metrics: dict[str, float], fired: Sequence[Alarm]) -> None:
    """Do nothing."""


class TrainingStep:
    """This project's part of a training step; one object for all steps of a run.

    Args:
        cfg: the whole configuration.
        problems: the training problems.
        collector: collects graded trajectories.
        curriculum: gives the interaction budget of a step.
        ranks: the processes of the run; each samples a part of a rollout, metrics are over all of them.
        attempt: how often the run was resumed.
        report: called at the end of a step.

    Attributes:
        curriculum: the given curriculum, whose state is saved in checkpoints.
        collected: the trajectories of the last rollout that are trained on.
        replaced: those that dynamic sampling has replaced, or drawn in vain.
        records: records of all trajectories of the last rollout, including replaced ones.
    """

    def __init__(
        self,
        cfg: Config,
        problems: Sequence[Problem],
        collector: Collector,
        curriculum: Curriculum,
        ranks: Ranks | None = None,
        attempt: int = 0,
        report: Report = no_report,
    ) -> None:
        self._cfg, self._problems, self._collector = cfg, problems, collector
        self._ranks, self._attempt, self._report = ranks or Ranks(), attempt, report
        self._alarms = build_alarms(cfg.alarm, tools=cfg.rollout.tools)
        self._metrics: dict[str, float] = {}
        self._advantage = build_advantage(cfg.trainer.advantage)
        self.curriculum = curriculum
        self.collected = self.replaced = Collected([], [])
        self.records: list[TrajectoryRecord] = []
        self._last_advantages: list[float] = []

    def shown(self) -> tuple[list[TrajectoryRecord], list[tuple[TrajectoryRecord, float]]]:
        """Return :attr:`records`, and the trajectories that are trained on with their advantages."""
        return self.records, list(zip(self.collected.records, self._last_advantages, strict=True))

    def rollout(self, step: int, problems: Sequence[int]) -> dict[str, Any]:
        """Collect the trajectories of a step in the form that TRL's ``rollout_func`` returns.

        Args:
            step: rollout step, from 0.
            problems: index of each trajectory's problem, (B,); groups are contiguous.

        Raises:
            InfrastructureError: more than ``trainer.max_infrastructure_failure_rate`` of them were lost.
            PromptError, EngineError, SandboxError, GraderError: see Collector.stream.
        """
        cfg = self._cfg.trainer
        budget, occasion = self.curriculum(step), Occasion("train", step, self._attempt)
        self.records, seconds = [], Counter[str]()
        sampled: list[Collected] = []

        def collect(samples: Samples) -> Collected:
            groups = self._groups(len(samples), len(problems), len(sampled))
            collected = self._collector.collect(samples, self._cfg.rollout.mode, budget, occasion, groups)
            self.records += collected.records
            sampled.append(collected)
            seconds.update(self._collector.seconds())
            return collected

        collected = collect(self._samples(problems))
        metrics: dict[str, float] = {}
        if cfg.dynamic_sampling:
            rounds, draw = cfg.dynamic_sampling, f"{cfg.seed}-{step}"
            size = cfg.samples_per_prompt
            collected, metrics = resample_uniform_groups(
                collected, collect, self._problems, size, rounds, draw, self._ranks
            )
        metrics |= summarise(self.records, self._ranks) | {"budget": float(budget)}
        metrics |= over_ranks(self._ranks.gather(self._collector.metrics() | seconds))
        self._refuse_losses(step, metrics["stop/infrastructure"])
        self.curriculum.observe(step, metrics)
        self.collected, self._metrics = collected, metrics
        self.replaced = _without(sampled, collected)
        return to_trl(
            collected.trajectories,
            collected.rewards,
            mask_feedback=self._cfg.rollout.mask == "exact",
            exclude=[StopReason(reason) for reason in cfg.exclude],
        )

    def advantages(
        self,
        centered: torch.Tensor,
        policy_mask: torch.Tensor,
        response_mask: torch.Tensor,
        accelerator: Accelerator,
    ) -> torch.Tensor:
        """Return the advantages of the last rollout's trajectories, (B,).

        Args:
            centered: TRL's rewards minus their group mean, (B,).
            policy_mask: 1 where a token counts in the loss, (B, T).
            response_mask: 1 where there is a token, feedback included, (B, T).
            accelerator: TRL's accelerator; sums over processes.
        """
        counts = torch.tensor([reward is not None for reward in self.collected.rewards])
        counts = counts.to(centered.device)
        tokens = policy_mask.sum(dim=1)
        if self._cfg.trainer.whiten_over == "response":
            tokens = torch.where(tokens > 0, response_mask.sum(dim=1), 0)  # the masked count nowhere
        # a group may span two processes
        sizes = group_sizes(accelerator.gather(counts), self._cfg.trainer.samples_per_prompt)
        found = self._advantage(
            centered,
            tokens,
            sizes[self._ranks.rank * len(counts) :][: len(counts)],
            lambda values: accelerator.reduce(values, reduction="sum"),
        )
        self._last_advantages = found.tolist()
        return found

    def finish(self, step: int, of_loss: dict[str, float], seconds: float) -> None:
        """Report the metrics of a step whose optimizer steps are done.

        Args:
            step: rollout step, from 0.
            of_loss: TRL's metrics.
            seconds: duration of the whole step.

        Raises:
            AlarmError: an alarm fires whose action stops the run.
        """
        metrics = self._metrics | of_loss
        rollout = sum(metrics[f"seconds/{name}"] for name in ("generation", "execution", "grading"))
        metrics |= {"seconds/update": seconds - rollout, "seconds/step": seconds}
        fired = self._alarms.check(step, metrics)
        self._report(step, metrics | self._alarms.metrics(fired), fired)
        stop_if_asked(fired)

    def _samples(self, problems: Sequence[int]) -> Samples:
        """Return each trajectory's problem and sample index; a group may span processes."""
        first = self._ranks.rank * len(problems)
        size = self._cfg.trainer.samples_per_prompt
        return [(self._problems[index], (first + row) % size) for row, index in enumerate(problems)]

    def _groups(self, samples: int, batch: int, call: int) -> list[int]:
        """Return the number of each sample's group, unique in the step.

        Args:
            samples: of the call.
            batch: trajectories of a process in the first call, the most of any call.
            call: number of calls before in this step.
        """
        first = (call * self._ranks.world + self._ranks.rank) * batch
        return [(first + row) // self._cfg.trainer.samples_per_prompt for row in range(samples)]

    def _refuse_losses(self, step: int, share: float) -> None:
        allowed = self._cfg.trainer.max_infrastructure_failure_rate
        if share > allowed:
            lost = [r for r in self.records if r.stop_reason == "infrastructure"]
            errors = [e.error for r in lost for e in r.executions if e.status == "infrastructure"]
            count = f"{len(lost)} of {len(self.records)} trajectories"
            if self._ranks.world > 1:
                count = f"{share:.1%} of the trajectories ({count} in process {self._ranks.rank})"
            raise InfrastructureError(
                f"{count} of rollout step {step} were lost to the infrastructure, more than "
                f"trainer.max_infrastructure_failure_rate={allowed}; the last error of the sandbox: "
                f"{next(iter(errors), None)}. Fix the sandbox and continue with trainer.resume"
            )


def _without(sampled: Sequence[Collected], kept: Collected) -> Collected:
    """Return the trajectories of ``sampled`` that are not ``kept``."""
    ids = {id(trajectory) for trajectory in kept.trajectories}
    rest = [
        pair
        for one in sampled
        for pair in zip(one.trajectories, one.records, strict=True)
        if id(pair[0]) not in ids
    ]
    return Collected([trajectory for trajectory, _ in rest], [record for _, record in rest])
