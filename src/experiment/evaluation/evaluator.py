"""Samples and grades held-out problems in one mode: before and after training, or for a benchmark."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from functools import partial

import torch
from rich.progress import Progress

from src.config import EvaluateConfig
from src.experiment.evaluation.results import Results
from src.problems import Problem
from src.rollout.collector import Collector
from src.rollout.engines import Engine
from src.rollout.environment import Environment
from src.run.records import Occasion, RecordWriter


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
