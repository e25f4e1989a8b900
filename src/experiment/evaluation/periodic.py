"""Evaluations of a training run on benchmarks: before it, every ``evaluate.every`` steps, and after it.

Each evaluation of a benchmark has a folder of its own, ``evaluations/step-N/NAME``, with records and a
summary as ``python -m src.evaluate`` writes them. A killed one goes on with the trajectories that are
missing: its checkpoint was saved first, so that the weights are the same.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.progress import Progress

from src.config import GENERATED, Config, DataConfig, EvaluateConfig, PeriodicBenchmarkConfig, named_benchmark
from src.config.named import sampling_of
from src.experiment.evaluation.benchmark_run import PHASE
from src.experiment.evaluation.earlier import Earlier, drop_lost
from src.experiment.evaluation.evaluator import Evaluator, evaluate_over_ranks
from src.policy.long_prompts import fit_benchmark
from src.policy.prompt_encoder import PromptEncoder
from src.problems import Problem, answers_taken, fields_line, load_benchmark
from src.problems.benchmarks import named_by, repeated
from src.rewards.golds import refuse_unreadable
from src.rollout.engines import Engine
from src.rollout.environment import Environment
from src.run import checkpoints, provenance
from src.run.console import console, percent
from src.run.disk import write_json
from src.run.evaluations import FOLDER, HELDOUT, PREFIX, Point
from src.run.processes import Ranks
from src.run.records import RECORDS, SUMMARY, Occasion, RankWriter


@dataclass(frozen=True)
class Benchmark:
    """Problems, and how they are sampled."""

    name: str
    problems: list[Problem]
    evaluate: EvaluateConfig
    long_prompts: dict[str, Any] | None = None
    fields: dict[str, str] = field(default_factory=dict)  # that were recognised


def sampling(evaluate: EvaluateConfig, given: PeriodicBenchmarkConfig) -> EvaluateConfig:
    """Return how a benchmark is sampled: as given, else as its option says, else as the held-out problems."""
    chosen = {name: value for name, value in asdict(given).items() if value is not None}
    own = {name: chosen[name] for name in ("modes", "k", "temperature", "top_p", "budget") if name in chosen}
    return replace(evaluate, **(sampling_of(given.benchmark) | own))


def read_benchmarks(cfg: Config, prompts: PromptEncoder, ranks: Ranks) -> list[Benchmark]:
    """Return the benchmarks of ``evaluate.benchmarks`` with every prompt within the limit.

    Raises:
        ProblemError: one cannot be read, or has gold answers that cannot be graded.
        ConfigError: a prompt is too long, and the benchmark says ``refuse``.
    """
    found = []
    for given in cfg.evaluate.benchmarks:
        named = replace(named_benchmark(given.benchmark), size=given.size)
        remedy = f"evaluate.benchmarks: {given.benchmark.partition('@')[0]}@FILE"
        taken, fields = Counter[str](), dict[str, str]()
        with named_by("evaluate.benchmarks"):
            problems = load_benchmark(named, remedy, taken, fields)
            if ranks.first and named.kind not in GENERATED:
                refuse_unreadable(problems, named.fields, "benchmark", cfg.reward.grade_seconds)
        said = [fields_line(fields) if fields else "", answers_taken(taken) if taken else ""]
        for line in filter(None, [*said, repeated(problems)]):
            console.print(f"{named.name}: {line}", markup=False)
        evaluate = sampling(cfg.evaluate, given)
        choice, limit = given.long_prompts or named.long_prompts, cfg.rollout.max_prompt_tokens
        setting = f"evaluate.benchmarks ({given.benchmark}): long_prompts"
        kept, too_long = fit_benchmark(problems, choice, evaluate.modes, prompts, limit, setting)
        found.append(Benchmark(named.name, kept, evaluate, too_long.json(choice), fields))
    return found


def prepare(
    cfg: Config, heldout: list[Problem], run_dir: Path, environment: Environment, kind: str, ranks: Ranks
) -> PeriodicEvaluation:
    """Read the benchmarks and return the evaluations of a run; see :func:`read_benchmarks` for the errors."""
    benchmarks = [
        Benchmark(HELDOUT, heldout, cfg.evaluate),
        *read_benchmarks(cfg, environment.prompts, ranks),
    ]
    settings = provenance.settings(cfg) | {"jail": environment.sandbox.jail, "engine": kind}
    return PeriodicEvaluation(cfg, benchmarks, run_dir, environment, settings, ranks)


class PeriodicEvaluation:
    """The evaluations of one run; every process has one, and calls :meth:`run` at the same steps.

    Args:
        cfg: of the run.
        benchmarks: the held-out problems, then those of :func:`read_benchmarks`.
        run_dir: folder of the run.
        environment: of the policy.
        settings: of the run, for the summaries.
        ranks: the processes.
    """

    def __init__(
        self,
        cfg: Config,
        benchmarks: Sequence[Benchmark],
        run_dir: Path,
        environment: Environment,
        settings: dict[str, Any],
        ranks: Ranks,
    ) -> None:
        self._every, self._heldout, self._benchmarks = cfg.evaluate.every, benchmarks[0], benchmarks[1:]
        self._last = cfg.trainer.steps if "after" in cfg.evaluate.phases else None
        self._folder, self._environment, self._ranks = run_dir / FOLDER, environment, ranks
        self._settings = settings

    def due(self, step: int) -> bool:
        """Whether ``evaluate.every`` asks for it after ``step`` steps; the phases' are not counted."""
        return self._every > 0 and step > 0 and step % self._every == 0 and step != self._last

    def run(
        self,
        step: int,
        engine: Callable[[float, float], Engine],
        bar: Progress,
        *,
        heldout: bool,
    ) -> list[Point]:
        """Evaluate the policy, or the rest of it; return the accuracies. Collective.

        Args:
            step: finished rollout steps.
            engine: makes an engine for a temperature and a top_p.
            bar: shows the progress.
            heldout: whether the held-out problems are evaluated, too.

        Raises:
            InfrastructureError: too many trajectories of a benchmark were lost.
        """
        points = []
        for benchmark in [*([self._heldout] if heldout else []), *self._benchmarks]:
            folder = self._folder / f"{PREFIX}{step}" / benchmark.name
            known = self._ranks.broadcast(_results(folder) if self._ranks.first else None)
            if known is None:
                made = engine(benchmark.evaluate.temperature, benchmark.evaluate.top_p)
                known = self._evaluate(benchmark, step, folder, made, bar)
            points += [Point(step, benchmark.name, mode, result) for mode, result in known.items()]
        return points

    def _evaluate(
        self, benchmark: Benchmark, step: int, folder: Path, engine: Engine, bar: Progress
    ) -> dict[str, Any]:
        ranks, cfg = self._ranks, benchmark.evaluate
        if ranks.first:
            folder.mkdir(parents=True, exist_ok=True)
            drop_lost(folder / RECORDS)
        ranks.wait()
        earlier = Earlier(folder / RECORDS, cfg.temperature)
        ranks.wait()  # until all have read it
        with RankWriter(folder / RECORDS, ranks) as writer:
            found = evaluate_over_ranks(
                Evaluator(engine, self._environment, cfg, writer, bar),
                writer,
                benchmark.problems,
                Occasion(PHASE, step),
                ranks,
                label=f"{benchmark.name} at step {step}",
                remedy="resume the run",
                earlier=earlier,
            )
        if ranks.first:
            self._write(benchmark, step, folder, found)
        for mode, result in found.items():
            console.print(f"step {step}: {benchmark.name}, {mode}: {percent(result)}", highlight=False)
        return found

    def note_heldout(self, step: int, results: dict[str, Any]) -> list[Point]:
        """Write the accuracies of a phase beside those of the benchmarks; its records are the run's."""
        if self._ranks.first:
            folder = self._folder / f"{PREFIX}{step}" / self._heldout.name
            folder.mkdir(parents=True, exist_ok=True)
            self._write(self._heldout, step, folder, results)
        return [Point(step, self._heldout.name, mode, result) for mode, result in results.items()]

    def _write(self, benchmark: Benchmark, step: int, folder: Path, results: dict[str, Any]) -> None:
        own = {name: getattr(benchmark.evaluate, name) for name in ("k", "temperature", "top_p", "budget")}
        summary = {
            "settings": self._settings | own | {"benchmark": benchmark.name},
            "benchmark": benchmark.name,
            "step": step,
            "modes": benchmark.evaluate.modes,
            "fields_recognised": benchmark.fields,
            "long_prompts": benchmark.long_prompts,
            "results": results,
        }
        write_json(folder / SUMMARY, summary)


def without_benchmarks(cfg: Config) -> DataConfig:
    """Return the settings of the problems; those of the benchmarks, too, are not to be trained on."""
    data, names = cfg.data, [given.benchmark for given in cfg.evaluate.benchmarks]
    more = [name for name in names if name not in data.clean.against]
    return replace(data, clean=replace(data.clean, against=[*data.clean.against, *more]))


def take_over(checkpoint: Path | None, run_dir: Path, *, unchanged: bool, forced: bool = False) -> None:
    """Let ``run_dir`` have the evaluations of the resumed run up to its checkpoint, and no other.

    Args:
        checkpoint: from which the run is resumed; None: it begins. Later steps are evaluated again, since
            their weights may differ.
        run_dir: folder of the run.
        unchanged: whether a run that begins has the settings of one that began in this folder before.
        forced: whether the run may be resumed with settings that change samples (``trainer.resume_force``):
            then an evaluation that has begun is made anew, since half of it may have been sampled otherwise.
    """
    step = 0 if checkpoint is None else checkpoints.step_of(checkpoint)
    origin = run_dir if checkpoint is None else checkpoint.parent.parent
    if origin != run_dir and (origin / FOLDER).is_dir():
        # what an earlier attempt of this run has left would mix with it
        shutil.rmtree(run_dir / FOLDER, ignore_errors=True)
        shutil.copytree(origin / FOLDER, run_dir / FOLDER)
    for folder in (run_dir / FOLDER).glob(f"{PREFIX}*"):
        if int(folder.name.removeprefix(PREFIX)) > step or (checkpoint is None and not unchanged):
            shutil.rmtree(folder)
    for folder in (run_dir / FOLDER).glob(f"{PREFIX}*/*"):
        if forced and not (folder / SUMMARY).is_file():
            shutil.rmtree(folder)


def _results(folder: Path) -> dict[str, Any] | None:
    """Return the results of a finished evaluation."""
    try:
        return dict(json.loads((folder / SUMMARY).read_text())["results"])
    except FileNotFoundError:
        return None
