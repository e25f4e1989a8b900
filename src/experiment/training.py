"""One run from its configuration to summary.json: evaluate, train, evaluate again (``evaluate.phases``)."""

from __future__ import annotations

import json
import shutil
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.markup import escape
from transformers import set_seed
from transformers.utils import logging as transformers_logging

from src.config import Config
from src.config.command_line import shown
from src.config.schema import ConfigError, show
from src.experiment.evaluation import Results, evaluate
from src.launch import resumption
from src.policy.loading import load_model
from src.policy.prompting import first_prompt, fit_data, settle
from src.problems import load_data
from src.rewards import Grader
from src.rewards.golds import refuse_unreadable_data
from src.rollout.collector import Collector
from src.rollout.engines.build import Engines, choose_engine, refuse_training
from src.rollout.engines.colocated import SleepingVLLM
from src.run import checkpoints, provenance
from src.run.alarms import build_alarms, stop_if_asked
from src.run.console import comparison, console, progress, step_line
from src.run.interrupts import interrupts
from src.run.processes import Ranks
from src.run.records import LineWriter, RankWriter, last_attempt, read_metrics, write_json
from src.run.tracking import Tracker
from src.sandbox import build_sandbox
from src.trainer import CIRTrainer
from src.trainer.callbacks import AtStart, MetricsCallback, StopCallback
from src.trainer.curriculum import build_curriculum

RECORDS, METRICS, STATE, SUMMARY = "trajectories.jsonl", "metrics.jsonl", "state.json", "summary.json"
DATA = "data.json"  # what was taken out of the problems, and why
TIMED = ("generation", "execution", "grading", "update")


def run(cfg: Config, run_dir: Path) -> dict[str, Any]:
    """Run an experiment and return what is written to ``summary.json``; nothing if it was interrupted.

    While it trains, ``interrupts.asked`` ends it after a step, with a checkpoint.

    Args:
        cfg: checked configuration.
        run_dir: where everything is written; with ``trainer.resume`` the records, metrics and first
            evaluation of the earlier run are taken over from its folder.

    Raises:
        ConfigError: see :func:`_take_over` and src/policy/prompting.py.
        ProblemError: problems are not there, or have gold answers that cannot be graded.
    """
    start = time.perf_counter()
    kind = choose_engine(cfg.engine)
    refuse_training(kind, cfg.engine)
    with ExitStack() as stack:
        ranks = stack.enter_context(Ranks(cfg.trainer.rank_timeout))
        run_dir = ranks.broadcast(run_dir.resolve())
        console.quiet = not ranks.first
        cfg, codec = settle(cfg)
        checkpoint = _take_over(cfg, run_dir, ranks)
        if ranks.first:
            provenance.save(cfg, run_dir)
        state = _read_state(run_dir) if checkpoint else {}
        attempt = ranks.broadcast(last_attempt(run_dir / RECORDS) + 1)
        data = load_data(cfg.data)
        console.print(data.line)
        if ranks.first:
            refuse_unreadable_data(data, cfg.data, cfg.reward.grade_seconds)
        data = fit_data(data, cfg, codec.tokenizer, ranks)
        prompt = first_prompt(codec, data.train[0], [cfg.rollout.mode], cfg.model)
        if ranks.first:
            write_json(run_dir / DATA, data.report)
        sandbox = stack.enter_context(build_sandbox(cfg.sandbox))
        console.print(f"sandbox: {sandbox.jail}, {sandbox.workers} workers")
        grader = stack.enter_context(Grader(cfg.reward.grade_workers, cfg.reward.grade_seconds))
        writer = stack.enter_context(RankWriter(run_dir / RECORDS, ranks))
        metrics_file = stack.enter_context(LineWriter(run_dir / METRICS)) if ranks.first else None
        transformers_logging.disable_progress_bar()  # ours is the only one
        set_seed(cfg.trainer.seed)
        model = load_model(cfg.model)
        tracker = Tracker(cfg, run_dir, state.get("wandb_id"), write=ranks.first)
        stack.callback(tracker.finish)
        bar = stack.enter_context(progress())

        steps = cfg.trainer.steps
        alarms = build_alarms(cfg.alarm, tools=cfg.rollout.tools)
        earlier = _earlier_seconds(run_dir, checkpoint)
        task = bar.add_task("training", total=steps, visible=False)

        def on_step(step: int, metrics: dict[str, float]) -> None:
            wall = earlier + time.perf_counter() - start
            writer.share()
            fired = alarms.check(step, metrics)
            metrics |= alarms.metrics(fired)
            if metrics_file is not None:
                metrics_file.write([{"step": step, "attempt": attempt, "wall_seconds": wall, **metrics}])
            tracker.log(metrics, step)
            tracker.samples(trainer.records, step)
            console.print(step_line(step, steps, metrics))
            for alarm in fired:
                console.print(f"[bold yellow]{escape(str(alarm))}")
            stop_if_asked(fired)
            bar.update(task, completed=step + 1, visible=True, description=_describe(metrics))

        def collector(trainer: CIRTrainer, mode: str | None = None) -> Collector:
            """With the settings of training, or of an evaluation in ``mode``."""
            llm, power = None, None
            if kind == "vllm":
                llm = trainer.vllm_generation.llm
                power = SleepingVLLM(trainer.vllm_generation) if cfg.engine.vllm.sleep else None
            in_step = ranks if trainer.shares_weights else None
            engines = stack.enter_context(
                Engines(
                    kind, cfg.engine, cfg.rollout, codec, model=model, llm=llm, power=power, in_step=in_step
                )
            )
            sampling = cfg.rollout if mode is None else cfg.evaluate
            rollout = cfg.rollout if mode is None else replace(cfg.rollout, tools=mode != "text")
            engine = engines.make(sampling.temperature, sampling.top_p)
            style = cfg.model.prompt_style
            return Collector(engine, sandbox, grader, codec, rollout, cfg.reward, style, writer)

        trainer = CIRTrainer(
            cfg,
            run_dir,
            model,
            codec.tokenizer,
            data.train,
            collector,
            build_curriculum(cfg.curriculum),
            kind,
            attempt,
            [
                MetricsCallback(on_step, cfg.trainer.minibatches),
                StopCallback(lambda: ranks.any(interrupts.asked is not None), cfg.trainer.minibatches),
                AtStart(lambda: before()),
            ],
            ranks,
        )
        console.print(f"engine: {kind}" + (f"; {ranks.world} processes" if ranks.world > 1 else ""))

        def evaluations(phase: str, step: int) -> dict[str, Any]:
            summaries = {}
            trainer.push_weights()
            part = ranks.shard(data.heldout)
            for mode in cfg.evaluate.modes:
                evaluator, results = collector(trainer, mode), Results()
                total = len(part) * cfg.evaluate.k
                eval_task = bar.add_task(f"evaluating {phase} training, {mode}", total=total, meter=evaluator)
                evaluate(
                    evaluator,
                    part,
                    mode,
                    cfg.evaluate,
                    phase=phase,
                    step=step,
                    attempt=attempt,
                    on_finish=partial(bar.advance, eval_task),
                    results=results,
                )
                bar.remove_task(eval_task)
                everyone = Results()
                for one in ranks.gather(results):
                    everyone.merge(one)
                summaries[mode] = everyone.summary()
                writer.share()
            return summaries

        def before() -> None:
            """Once the weights are where they are trained, and before they are changed."""
            if checkpoint is None:
                state["wandb_id"] = tracker.run_id
                if "before" in cfg.evaluate.phases:
                    state["before"] = evaluations("before", 0)
                if ranks.first:
                    write_json(run_dir / STATE, state)
            bar.update(task, visible=True, meter=trainer)
            training.enter_context(interrupts.deferred())

        with ExitStack() as training:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        if ranks.any(interrupts.asked is not None):
            return {}
        evaluated = {"before": state["before"]} if "before" in state else {}
        if "after" in cfg.evaluate.phases:
            evaluated["after"] = evaluations("after", trainer.rollout_step)
        bar.remove_task(task)
        if not ranks.first:
            return {}

        rows = read_metrics(run_dir / METRICS)
        summary = {
            "settings": provenance.settings(cfg) | {"jail": sandbox.jail, "engine": kind},
            "prompt": prompt,
            "left_out": {name: data.report[name]["long_prompts"] for name in ("train", "heldout")},
            **evaluated,
            "steps": trainer.rollout_step,
            "wall_seconds": earlier + time.perf_counter() - start,
            "seconds": {name: sum(row[f"seconds/{name}"] for row in rows) for name in TIMED},
            "curve": [{"step": row["step"], "accuracy": row["accuracy"]} for row in rows],
            "sandbox": sandbox.stats(),
            "checkpoint": str(checkpoints.resolve(run_dir)),
        }
        write_json(run_dir / SUMMARY, summary)
        tracker.finish(evaluated)
        console.print(comparison(evaluated))
        console.print(f"{run_dir / SUMMARY}: {summary['steps']} steps in {summary['wall_seconds']:.0f} s")
    return summary


def _describe(metrics: dict[str, float]) -> str:
    return f"training, reward {metrics['reward']:+.2f}, accuracy {metrics['accuracy']:.2f}"


def _take_over(cfg: Config, run_dir: Path, ranks: Ranks) -> Path | None:
    """Return the checkpoint to resume from, with what its run wrote copied into ``run_dir``.

    Raises:
        ConfigError: a new run would write among the checkpoints of an earlier one. Of a run that was killed
            before its first checkpoint only records are there, which those of the new one supersede. Or the
            evaluation before training is asked for of a run that went without.
    """
    if cfg.trainer.resume is None:
        if ranks.any(bool(checkpoints.complete(run_dir / "checkpoints"))):
            raise ConfigError(
                f"hydra.run.dir={run_dir}: holds checkpoints of an earlier run; go on with it by "
                f"trainer.resume={run_dir}, or choose another folder"
            )
        return None
    # the first one says which: it may be deleting older ones while the others look
    checkpoint = ranks.broadcast(checkpoints.resolve(Path(cfg.trainer.resume).expanduser()).resolve())
    origin = checkpoint.parent.parent
    if "before" in cfg.evaluate.phases and "before" not in _read_state(origin):
        raise ConfigError(
            f"evaluate.phases={show(cfg.evaluate.phases)}: {origin} was not evaluated before training, and "
            "its weights are no longer those; resume it with evaluate.phases=[after]"
        )
    step = checkpoints.step_of(checkpoint)
    there = checkpoints.complete(run_dir / "checkpoints")
    if ranks.any(bool(there) and (origin != run_dir or checkpoints.step_of(there[-1]) > step)):
        what = "another run" if origin != run_dir else f"steps after {step}, which would mix with new ones"
        raise ConfigError(
            f"hydra.run.dir={run_dir}: holds checkpoints of {what}; go on from the last of them by "
            f"trainer.resume={run_dir}, or choose another folder"
        )
    if ranks.first:
        if origin != run_dir:
            run_dir.mkdir(parents=True, exist_ok=True)
            for name in (RECORDS, METRICS, STATE):
                shutil.copy(origin / name, run_dir / name)
        console.print(f"resuming {shown(origin)} from step {step} of {cfg.trainer.steps}", markup=False)
        for key, old, new in resumption.differences(cfg, origin):
            console.print(f"resuming with {key}={show(new)}; it was {show(old)}", markup=False)
    ranks.wait()
    return checkpoint


def _earlier_seconds(run_dir: Path, checkpoint: Path | None) -> float:
    """Return the wall seconds that the resumed run had spent when its checkpoint was written."""
    if checkpoint is None:
        return 0.0
    rows = [row for row in read_metrics(run_dir / METRICS) if row["step"] < checkpoints.step_of(checkpoint)]
    return float(rows[-1]["wall_seconds"]) if rows else 0.0


def _read_state(run_dir: Path) -> dict[str, Any]:
    return dict(json.loads((run_dir / STATE).read_text()))
