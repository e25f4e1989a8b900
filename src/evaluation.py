"""Evaluation of a policy on held-out problems, with intervals."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest, bootstrap

from src import provenance
from src.config import EvaluateConfig, EvaluationConfig
from src.console import comparison, console, progress
from src.policy import load_codec, load_model
from src.problems import Problem, load_problems
from src.records import RecordWriter, TrajectoryRecord, write_json
from src.rewards import Grader
from src.rollout.collector import Collector
from src.rollout.engines.build import Engines, choose_engine
from src.rollout.engines.colocated import load_llm
from src.rollout.metrics import summarise
from src.sandbox import build_sandbox


def accuracy_interval(outcomes: Sequence[Sequence[bool]], seed: int = 0) -> tuple[float, float]:
    """Return the 95 % interval of a mean accuracy.

    With one trajectory per problem, Wilson's (1927). With more, trajectories of one problem are not
    independent: the percentile bootstrap over problems.

    Args:
        outcomes: for every problem, whether each of its trajectories is correct.
        seed: of the bootstrap.
    """
    flat = [value for values in outcomes for value in values]
    if not flat:
        return (0.0, 1.0)
    if max(map(len, outcomes)) == 1:
        wilson = binomtest(sum(flat), len(flat)).proportion_ci(0.95, method="wilson")
        return (float(wilson.low), float(wilson.high))
    means = np.array([np.mean(values) for values in outcomes])
    if np.ptp(means) == 0:
        return (float(means[0]), float(means[0]))
    sampled = bootstrap((means,), np.mean, confidence_level=0.95, method="percentile", rng=seed)
    return (float(sampled.confidence_interval.low), float(sampled.confidence_interval.high))


def accuracy(records: Sequence[TrajectoryRecord]) -> dict[str, Any]:
    """Return ``accuracy``, ``interval`` and ``n`` of records, without the infrastructure's victims."""
    by_problem = defaultdict(list)
    for record in records:
        if record.stop_reason != "infrastructure":
            by_problem[record.problem_id].append(record.correct)
    flat = [value for values in by_problem.values() for value in values]
    return {
        "accuracy": float(np.mean(flat)) if flat else None,
        "interval": list(accuracy_interval(list(by_problem.values()))),
        "n": len(flat),
    }


def summary(records: Sequence[TrajectoryRecord]) -> dict[str, Any]:
    """Return accuracy over all and by subject, and every metric of the rollouts."""
    by_subject = defaultdict(list)
    for record in records:
        by_subject[record.subject or "none"].append(record)
    metrics = {name: value for name, value in summarise(records).items() if not name.startswith("accuracy")}
    return {
        **accuracy(records),
        "by_subject": {subject: accuracy(group) for subject, group in sorted(by_subject.items())},
        "metrics": metrics,
    }


def evaluate(
    collector: Collector,
    problems: Sequence[Problem],
    mode: str,
    cfg: EvaluateConfig,
    *,
    phase: str,
    step: int,
    attempt: int = 0,
    on_finish: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Sample ``cfg.k`` trajectories per problem in ``mode``, record them, return their summary.

    The global random state is left as it was: an evaluation does not change a training run.

    Args:
        collector: with the engine, the limits and the records to use.
        problems: held out.
        mode: free, text or code.
        cfg: k, budget and seed.
        phase: ``before``, ``after``, ...; for the records, as are ``step`` and ``attempt``.
        step: rollout steps behind the policy.
        attempt: how often the run was resumed.
        on_finish: called as each trajectory is graded.
    """
    asked = [(problem, sample) for problem in problems for sample in range(cfg.k)]
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    records = []
    with torch.random.fork_rng(devices):
        torch.manual_seed(cfg.seed)
        for graded in collector.stream(asked, mode, cfg.budget, phase=phase, step=step, attempt=attempt):
            records.append(graded.record)
            if on_finish is not None:
                on_finish()
    return summary(records)


def run(cfg: EvaluationConfig, run_dir: Path) -> dict[str, Any]:
    """Evaluate ``cfg.model`` in every mode and return what is written to ``summary.json``.

    Args:
        cfg: checked configuration.
        run_dir: where trajectories and summary are written.

    Raises:
        EngineError, SandboxError, ProblemError, PromptError: what is needed is not there; trajectories
            that had finished are recorded.
    """
    start = time.perf_counter()
    kind = choose_engine(cfg.engine)
    provenance.save(cfg, run_dir)
    problems = shard(load_problems(cfg.data, "heldout"), cfg.evaluate.shard)
    codec = load_codec(cfg.model)
    llm = load_llm(cfg.engine, cfg.model, cfg.rollout, cfg.evaluate.seed) if kind == "vllm" else None
    model = load_model(cfg.model) if kind == "transformers" else None
    if model is not None and torch.cuda.is_available():
        model = model.to("cuda")
    results = {}
    with (
        build_sandbox(cfg.sandbox) as sandbox,
        Grader(cfg.reward.grade_workers, cfg.reward.grade_seconds) as grader,
        RecordWriter(run_dir / "trajectories.jsonl") as writer,
        Engines(kind, cfg.engine, cfg.rollout, codec, model=model, llm=llm) as engines,
        progress() as bar,
    ):
        console.print(f"sandbox: {sandbox.jail}, {sandbox.workers} workers; engine: {kind}")
        engine = engines.make(cfg.evaluate.temperature, cfg.evaluate.top_p)
        for mode in cfg.evaluate.modes:
            rollout = replace(cfg.rollout, tools=mode != "text")
            style = cfg.model.prompt_style
            collector = Collector(engine, sandbox, grader, codec, rollout, cfg.reward, style, writer)
            task = bar.add_task(f"evaluating, {mode}", total=len(problems) * cfg.evaluate.k, meter=collector)
            results[mode] = evaluate(
                collector,
                problems,
                mode,
                cfg.evaluate,
                phase="evaluate",
                step=0,
                on_finish=partial(bar.advance, task),
            )
            results[mode]["rollout"] = collector.metrics()
            bar.remove_task(task)
    summary = {
        "settings": provenance.settings(cfg) | {"jail": sandbox.jail, "engine": kind},
        "results": results,
        "wall_seconds": time.perf_counter() - start,
    }
    write_json(run_dir / "summary.json", summary)
    console.print(comparison({}, results))
    console.print(f"{run_dir / 'summary.json'}: {summary['wall_seconds']:.0f} s")
    return summary


def shard(problems: Sequence[Problem], part: str | None) -> list[Problem]:
    """Return every N-th problem from the I-th on for ``part`` ``I/N``; all for None."""
    if part is None:
        return list(problems)
    first, step = map(int, part.split("/"))
    return list(problems[first::step])
