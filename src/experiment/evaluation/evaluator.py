"""Samples and grades held-out problems in one mode: before and after training, or for a benchmark."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from rich.progress import Progress

from src.config import EvaluateConfig
from src.experiment.evaluation.earlier import Earlier
from src.experiment.evaluation.results import Results
from src.problems import Problem
from src.rollout.collector import Collector
from src.rollout.engines import Engine
from src.rollout.environment import Environment
from src.run.processes import Ranks
from src.run.records import Occasion, RankWriter, RecordWriter


@dataclass(frozen=True)
class Evaluator:
    """Evaluates one policy; restores the global random state, so that training is not affected.

    Each trajectory's random stream depends only on ``cfg.seed``, problem, mode and sample.

    Attributes:
        engine: samples tokens with the temperature and top_p of ``cfg``.
        environment: prompts, tools, grading and rewards; tools are off in mode ``text``.
        cfg: k, budget and seed.
        writer: writes the records.
        bar: shows the progress; None: no progress bar.
    """

    engine: Engine
    environment: Environment
    cfg: EvaluateConfig
    writer: RecordWriter
    bar: Progress | None = None

    def evaluate(
        self,
        problems: Sequence[Problem],
        mode: str,
        occasion: Occasion,
        *,
        label: str = "",
        done: Set[tuple[str, int]] = frozenset(),
        results: Results | None = None,
    ) -> tuple[Results, dict[str, float]]:
        """Sample and record ``cfg.k`` trajectories per problem; return the results and metrics.

        Args:
            problems: the held-out set.
            mode: free, text or code.
            occasion: for the records; its step is the policy's rollout step.
            label: shown beside the progress bar.
            done: problem id and sample of each trajectory that an earlier process has recorded; skipped.
            results: of the ``done`` trajectories; the new ones are added.

        Returns:
            The results, and the metrics of the engine and the tools.
        """
        results = Results() if results is None else results
        rollout = replace(self.environment.rollout, tools=mode != "text")
        collector = Collector(self.engine, replace(self.environment, rollout=rollout), self.writer)
        samples = [(problem, sample) for problem in problems for sample in range(self.cfg.k)]
        remaining = [(problem, sample) for problem, sample in samples if (problem.id, sample) not in done]
        bar = self.bar or Progress(disable=True)
        finished = len(samples) - len(remaining)
        task = bar.add_task(label, total=len(samples), completed=finished, meter=collector)
        advance = partial(bar.advance, task)
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices):
            for graded in collector.stream(remaining, mode, self.cfg.budget, occasion, self.cfg.seed):
                results.add(graded.record)
                advance()
        bar.remove_task(task)
        return results, collector.metrics()


def evaluate_over_ranks(
    evaluator: Evaluator,
    writer: RankWriter,
    problems: Sequence[Problem],
    occasion: Occasion,
    ranks: Ranks,
    *,
    label: str,
    remedy: str,
    earlier: Earlier | None = None,
) -> dict[str, Any]:
    """Evaluate in every mode, each process a share of the problems; return the summaries by mode.

    Args:
        evaluator: whose writer is ``writer``.
        writer: writes the records.
        problems: the same in all processes.
        occasion: for the records.
        ranks: the processes.
        label: what is evaluated, for the progress bar and errors.
        remedy: how to go on if too many trajectories are lost.
        earlier: what an earlier process has recorded.

    Raises:
        InfrastructureError: more than ``evaluate.max_infrastructure_failure_rate`` of them were lost.
    """
    found, cfg = {}, evaluator.cfg
    for mode in cfg.modes:
        known = earlier.results[mode] if earlier is not None and ranks.first else None
        results, _ = evaluator.evaluate(
            ranks.shard(problems),
            mode,
            occasion,
            label=f"evaluating {label}, {mode}",
            done=earlier.done[mode] if earlier is not None else frozenset(),
            results=known,
        )
        merged = Results()
        for part in ranks.gather(results):
            merged.merge(part)
        merged.refuse_losses(cfg.max_infrastructure_failure_rate, f"{label}, mode {mode}", remedy)
        found[mode] = merged.summary()
        writer.share()
    return found
