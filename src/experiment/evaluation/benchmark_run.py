"""``python -m src.evaluate`` from configuration to summary.json; can resume an interrupted evaluation."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import torch
from rich.markup import escape

from src.config import GENERATED, EvaluationConfig
from src.config.schema import ConfigError, build, show
from src.experiment.evaluation.earlier import Earlier, drop_lost
from src.experiment.evaluation.evaluator import Evaluator
from src.launch.resumption import SANDBOX_MAY_CHANGE, read_config, take_open
from src.policy.loading import load_model, whole_model
from src.policy.long_prompts import fit_benchmark
from src.policy.settle import settle
from src.problems import Problem, answers_taken, fields_line, load_benchmark
from src.problems.benchmarks import repeated
from src.rewards.golds import refuse_unreadable
from src.rollout.engines.build import Engines, choose_engine
from src.rollout.engines.colocated import load_llm
from src.rollout.environment import open_environment
from src.run import checkpoints, provenance
from src.run.console import comparison, console, percent, progress
from src.run.disk import write_json
from src.run.evaluations import Point
from src.run.records import (
    CONFIG,
    RECORDS,
    STATE,
    SUMMARY,
    Occasion,
    RecordWriter,
    TrajectoryRecord,
    iter_records,
)
from src.run.status import RunStatus
from src.run.tracking.tracker import Tracker

PHASE = "evaluate"
_MAY_CHANGE = (
    *(
        "engine.",
        "evaluate.resume",
        "evaluate.max_infrastructure_failure_rate",
        "reward.grade_",
        "rollout.max_concurrent",
        "sandbox.backend",
        "tracking.",
    ),
    *SANDBOX_MAY_CHANGE,
)


def run(cfg: EvaluationConfig, run_dir: Path) -> dict[str, Any]:
    """Evaluate ``cfg.model`` in every mode and return the contents of ``summary.json``.

    Args:
        cfg: checked configuration.
        run_dir: where trajectories and summary are written; with ``evaluate.resume`` it may contain
            trajectories of an earlier process, which are not sampled again.

    Raises:
        ConfigError: it contains trajectories and ``evaluate.resume`` is off, or they were sampled with other
            settings; see also src/policy/settle.py.
        EngineError, SandboxError, ProblemError, PromptError: the engine, sandbox or problems are unavailable,
            too many trajectories were lost to the sandbox, or a prompt is too long; finished trajectories are
            recorded.
    """
    with BenchmarkRun(cfg, run_dir) as evaluation:
        evaluation.prepare()
        evaluation.evaluate()
        return evaluation.summarise()


class BenchmarkRun:
    """An evaluation; the methods are its phases, in the order in which :func:`run` calls them."""

    def __init__(self, cfg: EvaluationConfig, run_dir: Path) -> None:
        self._start = time.perf_counter()
        self._cfg, self._run_dir = cfg, run_dir
        self._open, self._until_the_end = ExitStack(), ExitStack()
        self._results: dict[str, Any] = {}
        self._step = trained_steps(Path(cfg.model.path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)
        self._until_the_end.__exit__(*error)

    def prepare(self) -> None:
        """Resolve the policy's settings, read earlier records and problems, load the policy and the rest."""
        self._cfg, self._codec = settle(self._cfg)
        cfg, run_dir = self._cfg, self._run_dir
        _check_folder(cfg, run_dir)
        self._status = self._until_the_end.enter_context(RunStatus(run_dir))
        drop_lost(run_dir / RECORDS)
        self._earlier = Earlier(run_dir / RECORDS, cfg.evaluate.temperature)
        self._kind = choose_engine(cfg.engine)
        self._environment = self._open.enter_context(open_environment(cfg, self._codec))
        self._problems = self._read_problems()
        provenance.save(cfg, run_dir)
        self._open_tracker()
        policy = self._load_policy()
        self._writer = self._open.enter_context(RecordWriter(run_dir / RECORDS))
        self._engines = self._open.enter_context(
            Engines(self._kind, cfg.engine, cfg.rollout, self._codec, **policy)
        )
        self._bar = self._open.enter_context(progress(self._status.progress))
        console.print(f"engine: {self._kind}")

    def evaluate(self) -> None:
        """Sample and grade every problem of this shard in every mode."""
        cfg = self._cfg
        engine = self._engines.make(cfg.evaluate.temperature, cfg.evaluate.top_p)
        evaluator = Evaluator(engine, self._environment, cfg.evaluate, self._writer, self._bar)
        for mode in cfg.evaluate.modes:
            results, metrics = evaluator.evaluate(
                self._problems,
                mode,
                Occasion(PHASE),
                label=f"evaluating, {mode}",
                done=self._earlier.done[mode],
                results=self._earlier.results[mode],
            )
            remedy = f"evaluate those again with evaluate.resume=true hydra.run.dir={self._run_dir}"
            results.refuse_losses(cfg.evaluate.max_infrastructure_failure_rate, f"mode {mode}", remedy)
            self._results[mode] = results.summary() | {"rollout": metrics}
            point = Point(self._step, cfg.benchmark.name, mode, self._results[mode])
            self._status.evaluated([point.json()])
            self._tracker.points([point])
            console.print(f"{point.benchmark}, {mode}: {percent(point.result)}", highlight=False)

    def summarise(self) -> dict[str, Any]:
        """Write summary.json, print it, and return it."""
        self._open.close()
        summary = {
            "settings": provenance.settings(self._cfg)
            | {"jail": self._environment.sandbox.jail, "engine": self._kind},
            "prompt": self._prompt,
            "fields_recognised": self._found,
            "long_prompts": self._too_long.json(self._cfg.benchmark.long_prompts),
            "results": self._results,
            "wall_seconds": time.perf_counter() - self._start,
        }
        write_json(self._run_dir / SUMMARY, summary)
        self._tracker.samples(self._step, self._shown())
        self._tracker.finish({"results": self._results})
        self._status.finish()
        console.print(comparison({"accuracy": self._results}))
        console.print(f"{self._run_dir / SUMMARY}: {summary['wall_seconds']:.0f} s")
        return summary

    def _open_tracker(self) -> None:
        """Begin to log, as the same run if the evaluation is resumed."""
        file = self._run_dir / STATE
        earlier = json.loads(file.read_text()) if file.is_file() else {}
        self._tracker = Tracker(self._cfg, self._run_dir.resolve(), earlier)
        self._until_the_end.callback(self._tracker.finish)
        if identity := self._tracker.identity:
            write_json(file, identity)

    def _shown(self) -> list[TrajectoryRecord]:
        """Return the first trajectory of the first problems in every mode, as many as the tracker shows."""
        tracking = self._cfg.tracking
        first = {problem.id: place for place, problem in enumerate(self._problems[: tracking.samples])}
        if tracking.mode == "none" or not first:
            return []
        found = [
            record
            for record in iter_records(self._run_dir / RECORDS)
            if record.problem_id in first and record.sample == 0
        ]
        return sorted(found, key=lambda record: (first[record.problem_id], record.mode))

    def _read_problems(self) -> list[Problem]:
        """Return the problems of this shard, without those whose prompts are too long."""
        cfg = self._cfg
        taken: Counter[str] = Counter()
        self._found: dict[str, str] = {}  # fields that were recognised
        problems = load_benchmark(cfg.benchmark, taken=taken, found=self._found)
        if self._found:
            console.print(escape(fields_line(self._found)))
        if taken:
            console.print(escape(answers_taken(taken)))
        if line := repeated(problems):
            console.print(line, style="bold yellow", markup=False, highlight=False)
        if cfg.benchmark.kind not in GENERATED:
            refuse_unreadable(problems, cfg.benchmark.fields, "benchmark", cfg.reward.grade_seconds)
        # all problems, in every shard, so that all shards leave out the same ones or all refuse
        problems, self._too_long = fit_benchmark(
            problems,
            cfg.benchmark.long_prompts,
            cfg.evaluate.modes,
            self._environment.prompts,
            cfg.rollout.max_prompt_tokens,
        )
        self._prompt = self._environment.show_prompt(problems[0], cfg.evaluate.modes)
        return shard(problems, cfg.evaluate.shard)

    def _load_policy(self) -> dict[str, Any]:
        """Load the policy for the engine; return it as a keyword argument of Engines."""
        cfg = self._cfg
        if self._kind == "vllm":
            with whole_model(cfg.model, self._run_dir) as whole:
                return {"llm": load_llm(cfg.engine, whole, cfg.rollout, cfg.evaluate.seed)}
        if self._kind == "transformers":
            return {"model": load_model(cfg.model).to("cuda" if torch.cuda.is_available() else "cpu")}
        return {}


def trained_steps(model: Path) -> int:
    """Return for how many steps a checkpoint was trained; 0 for any other policy."""
    try:
        return checkpoints.step_of(model)
    except (OSError, checkpoints.CheckpointError):
        return 0


def shard(problems: Sequence[Problem], part: str | None) -> list[Problem]:
    """Return every N-th problem starting with the I-th for ``part`` ``I/N``; all problems for None."""
    if part is None:
        return list(problems)
    first, step = map(int, part.split("/"))
    return list(problems[first::step])


def _check_folder(cfg: EvaluationConfig, run_dir: Path) -> None:
    if not (run_dir / RECORDS).exists():
        return
    if not cfg.evaluate.resume:
        raise ConfigError(
            f"hydra.run.dir={run_dir}: contains trajectories of an earlier evaluation; resume it with "
            "evaluate.resume=true, or choose another folder"
        )
    # settings that were added since have their defaults
    earlier = asdict(build(EvaluationConfig, read_config(run_dir / CONFIG)))
    now = asdict(cfg)
    take_open(earlier, now)  # which an older folder does
    different = {
        name: values
        for name, values in provenance.changes(earlier, now).items()
        if not name.startswith(_MAY_CHANGE)
    }
    if different:
        raise ConfigError(
            *(
                f"{name}={show(new)}: the evaluation in {run_dir} has {show(old)}; resume it with that, or "
                "choose another folder"
                for name, (old, new) in different.items()
            )
        )
