"""A training run from its configuration to summary.json: evaluate, train, evaluate again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from transformers import PreTrainedModel, set_seed
from transformers.utils import logging as transformers_logging

from src.config import Config
from src.experiment.evaluation import periodic
from src.experiment.evaluation.evaluator import Evaluator, evaluate_over_ranks
from src.experiment.reports import Reports
from src.experiment.resumed import earlier_seconds, read_state, take_over
from src.policy.loading import load_model
from src.policy.long_prompts import fit_data
from src.policy.settle import settle
from src.problems import Data, Problem, load_data
from src.rewards.golds import refuse_unreadable_data
from src.rollout.collector import Collector
from src.rollout.engines import Engine
from src.rollout.engines.build import Engines, choose_engine, refuse_training
from src.rollout.engines.colocated import SleepingVLLM
from src.rollout.environment import Environment, open_environment
from src.run import checkpoints, provenance
from src.run.alarms import Alarm
from src.run.console import comparison, console, evaluation_curve
from src.run.disk import write_json
from src.run.evaluations import read_points
from src.run.interrupts import interrupts
from src.run.processes import Ranks
from src.run.records import (
    METRICS,
    RECORDS,
    STATE,
    SUMMARY,
    Occasion,
    RankWriter,
    last_attempt,
    read_metrics,
)
from src.run.status import RunStatus
from src.trainer import CIRTrainer, TrainingStep
from src.trainer.callbacks import AtStart, EvaluationCallback, StopCallback
from src.trainer.curriculum import build_curriculum

DATA = "data.json"  # which problems were removed, and why
TIMED = ("generation", "execution", "grading", "update")


def run(cfg: Config, run_dir: Path) -> dict[str, Any]:
    """Run an experiment and return the contents of ``summary.json``; an empty dict if it was interrupted.

    An interrupt (``interrupts.asked``) ends training after the current step, with a checkpoint.

    Args:
        cfg: checked configuration.
        run_dir: where everything is written; with ``trainer.resume`` the records, metrics and initial
            evaluation of the earlier run are copied from its folder.

    Raises:
        ConfigError: see src/experiment/resumed.py and src/policy/settle.py.
        ProblemError: problems are missing, or have gold answers that cannot be graded.
    """
    with TrainingRun(cfg, run_dir) as training:
        training.prepare()
        training.train()  # evaluates "before" too: TRL places the weights when training begins
        if training.interrupted:
            return {}
        training.evaluate("after")
        return training.summarise()


class TrainingRun:
    """A training run; the methods are its phases, in the order in which :func:`run` calls them.

    src/trainer/step.py implements a training step.
    """

    def __init__(self, cfg: Config, run_dir: Path) -> None:
        self._start = time.perf_counter()
        self._cfg, self._run_dir = cfg, run_dir
        self._kind = choose_engine(cfg.engine)
        refuse_training(self._kind, cfg.engine)
        self._open, self._evaluated = ExitStack(), dict[str, Any]()
        self._evaluation_seconds = 0.0  # of the last phase

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)

    @property
    def environment(self) -> Environment:
        """Prompts, tools, grading and rewards, once prepared."""
        return self._environment

    @property
    def trainer(self) -> CIRTrainer:
        """The trainer, once prepared."""
        return self._trainer

    @property
    def kind(self) -> str:
        """The kind of engine."""
        return self._kind

    @property
    def problems(self) -> list[Problem]:
        """The training problems, once prepared."""
        return self._data.train

    def engine(self, temperature: float, top_p: float) -> Engine:
        """Return an engine of the policy, once prepared."""
        return self._engines.make(temperature, top_p)

    # prepare

    def prepare(self) -> None:
        """Join the other processes, resolve the policy's settings, take over a resumed run, build all."""
        self._ranks = self._open.enter_context(Ranks(self._cfg.trainer.rank_timeout))
        self._run_dir = self._ranks.broadcast(self._run_dir.resolve())
        console.quiet = not self._ranks.first
        self._cfg, self._codec = settle(self._cfg)
        self._resume_or_begin()
        self._environment = self._open.enter_context(open_environment(self._cfg, self._codec))
        self._data = self._read_problems()
        self._open_files()
        set_seed(self._cfg.trainer.seed)
        model = load_model(self._cfg.model)
        self._show(self._state)
        self._build_trainer(model)

    def _resume_or_begin(self) -> None:
        cfg, run_dir = self._cfg, self._run_dir
        self._checkpoint = take_over(cfg, run_dir, self._ranks)
        if self._ranks.first:
            unchanged, forced = provenance.unchanged(cfg, run_dir), cfg.trainer.resume_force
            periodic.take_over(self._checkpoint, run_dir, unchanged=unchanged, forced=forced)
            provenance.save(cfg, run_dir)
        self._state = read_state(run_dir) if self._checkpoint else {}
        self._earlier = earlier_seconds(run_dir, self._checkpoint)
        self._attempt = self._ranks.broadcast(last_attempt(run_dir / RECORDS) + 1)

    def _read_problems(self) -> Data:
        """Return the problems whose prompts fit."""
        cfg = self._cfg
        data = load_data(periodic.without_benchmarks(cfg))
        console.print(data.line)
        if self._ranks.first:
            refuse_unreadable_data(data, cfg.data, cfg.reward.grade_seconds)
        data = fit_data(data, cfg, self._environment.prompts, self._ranks)
        self._prompt = self._environment.show_prompt(data.train[0], [cfg.rollout.mode])
        self._periodic = periodic.prepare(
            cfg, data.heldout, self._run_dir, self._environment, self._kind, self._ranks
        )
        if self._ranks.first:
            write_json(self._run_dir / DATA, data.report)
        return data

    def _open_files(self) -> None:
        run_dir, enter = self._run_dir, self._open.enter_context
        self._writer = enter(RankWriter(run_dir / RECORDS, self._ranks))
        self._begins = step = checkpoints.step_of(self._checkpoint) if self._checkpoint else 0
        self._status = enter(RunStatus(run_dir, self._cfg.trainer.steps, step, write=self._ranks.first))

    def _show(self, earlier: dict[str, Any]) -> None:
        transformers_logging.disable_progress_bar()  # this project shows its own
        self._reports = Reports(
            self._cfg, self._run_dir, self._status, earlier, self._begins, write=self._ranks.first
        )
        self._open.enter_context(self._reports)
        self._bar = self._reports.bar

    def _build_trainer(self, model: PreTrainedModel) -> None:
        """Build the trainer, whose vLLM may be the engine, then the engine, then the step that uses both."""
        cfg, ranks, train = self._cfg, self._ranks, self._data.train
        # TRL places the weights (DDP, FSDP, ZeRO) when training begins: only then can they be evaluated
        at_start = AtStart(self._begin_training)
        stop = StopCallback(self._stop_requested, cfg.trainer.minibatches)
        due = EvaluationCallback(self._periodic.due, self._evaluate_during, cfg.trainer.minibatches)
        callbacks = [at_start, stop, due]
        self._trainer = trainer = CIRTrainer(
            cfg, self._run_dir, model, self._codec.tokenizer, train, self._kind, callbacks, ranks
        )
        llm = trainer.vllm_generation.llm if self._kind == "vllm" else None
        power = SleepingVLLM(trainer.vllm_generation) if llm and cfg.engine.vllm.sleep else None
        in_step = ranks if trainer.shares_weights else None
        engines = Engines(
            self._kind,
            cfg.engine,
            cfg.rollout,
            self._codec,
            model=model,
            llm=llm,
            power=power,
            in_step=in_step,
        )
        self._engines = self._open.enter_context(engines)
        engine = engines.make(cfg.rollout.temperature, cfg.rollout.top_p)
        self._collector = Collector(engine, self._environment, self._writer)
        curriculum = build_curriculum(cfg.curriculum)
        step = TrainingStep(cfg, train, self._collector, curriculum, ranks, self._attempt, self._report)
        trainer.attach(step)
        console.print(f"engine: {self._kind}" + (f"; {ranks.world} processes" if ranks.world > 1 else ""))

    # evaluate

    def evaluate(self, phase: str) -> None:
        """Evaluate the current policy in every mode, if ``evaluate.phases`` includes ``phase``."""
        cfg = self._cfg
        if phase not in cfg.evaluate.phases:
            return
        self._trainer.push_weights()
        engine = self._engines.make(cfg.evaluate.temperature, cfg.evaluate.top_p)
        step, start = self._trainer.rollout_step, time.perf_counter()
        self._evaluated[phase] = evaluate_over_ranks(
            Evaluator(engine, self._environment, cfg.evaluate, self._writer, self._bar),
            self._writer,
            self._data.heldout,
            Occasion(phase, step, self._attempt),
            self._ranks,
            label=f"{phase} training",
            remedy="start the run again" if phase == "before" else "resume the run",
        )
        self._reports.points(self._periodic.note_heldout(step, self._evaluated[phase]))
        self._reports.points(self._periodic.run(step, self._engines.make, self._bar, heldout=False))
        self._evaluation_seconds = time.perf_counter() - start

    def _evaluate_during(self, step: int) -> None:
        """Evaluate the policy after ``step`` steps, or the rest of it; a signal ends that at once."""
        if self._stop_requested():
            return
        with interrupts.immediate():
            self._trainer.push_weights()
            self._reports.points(self._periodic.run(step, self._engines.make, self._bar, heldout=True))

    # train

    def train(self) -> None:
        """Train, from the checkpoint if the run is resumed; an interrupt takes effect after a step."""
        with ExitStack() as self._training:
            checkpoint = str(self._checkpoint) if self._checkpoint else None
            self._trainer.train(resume_from_checkpoint=checkpoint)

    def _begin_training(self) -> None:
        """Evaluate before training, or take the results of the resumed run."""
        if self._checkpoint is None:
            self.evaluate("before")
            self._state = {**self._reports.identity, **self._evaluated}
            if self._ranks.first:
                write_json(self._run_dir / STATE, self._state)
        elif "before" in self._state:
            self._evaluated["before"] = self._state["before"]
        if self._checkpoint is not None and self._periodic.due(step := self._trainer.rollout_step):
            self._evaluate_during(step)
        follows = self._evaluation_seconds if "after" in self._cfg.evaluate.phases else 0.0
        self._reports.begin_training(self._collector, follows)
        self._training.enter_context(interrupts.deferred())

    def _report(self, step: int, metrics: dict[str, float], fired: Sequence[Alarm]) -> None:
        """Write and show the metrics of a step."""
        self._writer.share()
        wall = {"step": step, "attempt": self._attempt, "wall_seconds": self._wall_seconds()}
        self._reports.step(step, wall | metrics, fired, *self._trainer.step.shown())

    def _stop_requested(self) -> bool:
        return self._ranks.any(interrupts.asked is not None)

    @property
    def interrupted(self) -> bool:
        """Whether training was stopped early; collective: all processes call it and get the same answer."""
        return self._stop_requested()

    # summarise

    def summarise(self) -> dict[str, Any]:
        """Write summary.json, print it, and return it; the other processes return an empty dict."""
        self._reports.end_training()
        if not self._ranks.first:
            return {}
        run_dir, steps = self._run_dir, self._trainer.rollout_step
        rows = read_metrics(run_dir / METRICS)
        points = read_points(run_dir)
        reports, sandbox = self._data.report, self._environment.sandbox
        summary = {
            "settings": provenance.settings(self._cfg) | {"jail": sandbox.jail, "engine": self._kind},
            "prompt": self._prompt,
            "long_prompts": {name: reports[name]["long_prompts"] for name in ("train", "heldout")},
            **self._evaluated,
            "steps": steps,
            "wall_seconds": self._wall_seconds(),
            "seconds": {name: sum(row[f"seconds/{name}"] for row in rows) for name in TIMED},
            "curve": [{"step": row["step"], "accuracy": row["accuracy"]} for row in rows],
            "evaluations": [point.json() for point in points],
            "sandbox": sandbox.stats(),
            "checkpoint": str(checkpoints.resolve(run_dir)),
        }
        write_json(run_dir / SUMMARY, summary)
        self._reports.finish(self._evaluated)
        console.print(comparison(self._evaluated))
        console.print(evaluation_curve([point.json() for point in points]))
        console.print(f"{run_dir / SUMMARY}: {steps} steps in {summary['wall_seconds']:.0f} s")
        return summary

    def _wall_seconds(self) -> float:
        """Return the seconds of this run, plus those of the resumed run up to its checkpoint."""
        return self._earlier + time.perf_counter() - self._start
