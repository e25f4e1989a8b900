"""Samples and grades held-out problems in one mode: before and after training, and of a benchmark."""

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
    """Evaluates one policy; the global random state is left as it was, so that training does not notice.

    Each trajectory's random stream follows from ``cfg.seed``, problem, mode and sample alone.

    Attributes:
        engine: samples tokens, as ``cfg`` says.
        environment: in which it acts; without its tools in mode ``text``.
        cfg: k, budget and seed.
        writer: of the records.
        bar: shows how far it is; None: nothing does.
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
        """Sample ``cfg.k`` trajectories per problem and record them; return what they show.

        Args:
            problems: held out.
            mode: free, text or code.
            occasion: for the records; its step is that of the policy.
            label: said beside the bar.
            done: problem id and sample of what an earlier process has recorded already.
            results: that holds what is ``done``; counted on.

        Returns:
            The results, and the metrics of engine and tools.
        """
        results = Results() if results is None else results
        rollout = replace(self.environment.rollout, tools=mode != "text")
        collector = Collector(self.engine, replace(self.environment, rollout=rollout), self.writer)
        asked = [(problem, sample) for problem in problems for sample in range(self.cfg.k)]
        left = [one for one in asked if (one[0].id, one[1]) not in done]
        bar = self.bar or Progress(disable=True)
        task = bar.add_task(label, total=len(asked), completed=len(asked) - len(left), meter=collector)
        advance = partial(bar.advance, task)
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices):
            for graded in collector.stream(left, mode, self.cfg.budget, occasion, self.cfg.seed):
                results.add(graded.record)
                advance()
        bar.remove_task(task)
        return results, collector.metrics()
