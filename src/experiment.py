"""One run from its configuration to summary.json: evaluate, train, evaluate again."""

from __future__ import annotations

import json
import shutil
import time
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.markup import escape
from transformers import set_seed
from transformers.utils import logging as transformers_logging

from src import checkpoints, provenance
from src.alarms import build_alarms, stop_if_asked
from src.config import Config
from src.console import comparison, console, progress, step_line
from src.curriculum import build_curriculum
from src.evaluation import evaluate
from src.policy import load_codec, load_model
from src.problems import load_problems
from src.records import LineWriter, RecordWriter, last_attempt, read_metrics, write_json
from src.rewards import Grader
from src.rollout.collector import Collector
from src.rollout.engines.build import Engines, choose_engine, refuse_training
from src.rollout.engines.colocated import SleepingVLLM
from src.sandbox import build_sandbox
from src.tracking import Tracker
from src.trainer import CIRTrainer, MetricsCallback

RECORDS, METRICS, STATE, SUMMARY = "trajectories.jsonl", "metrics.jsonl", "state.json", "summary.json"
TIMED = ("generation", "execution", "grading", "update")


def run(cfg: Config, run_dir: Path) -> dict[str, Any]:
    """Run an experiment and return what is written to ``summary.json``.

    Args:
        cfg: checked configuration.
        run_dir: where everything is written; with ``trainer.resume`` the records, metrics and first
            evaluation of the earlier run are taken over from its folder.
    """
    start = time.perf_counter()
    kind = choose_engine(cfg.engine)
    refuse_training(kind, cfg.engine)
    checkpoint = _take_over(cfg, run_dir)
    provenance.save(cfg, run_dir)
    state = _read_state(run_dir) if checkpoint else {}
    attempt = last_attempt(run_dir / RECORDS) + 1 if checkpoint else 0
    train_problems, heldout = load_problems(cfg.data, "train"), load_problems(cfg.data, "heldout")
    with ExitStack() as stack:
        sandbox = stack.enter_context(build_sandbox(cfg.sandbox))
        console.print(f"sandbox: {sandbox.jail}, {sandbox.workers} workers")
        grader = stack.enter_context(Grader(cfg.reward.grade_workers, cfg.reward.grade_seconds))
        writer = stack.enter_context(RecordWriter(run_dir / RECORDS))
        metrics_file = stack.enter_context(LineWriter(run_dir / METRICS))
        transformers_logging.disable_progress_bar()  # ours is the only one
        set_seed(cfg.trainer.seed)
        model = load_model(cfg.model)
        codec = load_codec(cfg.model)
        tracker = Tracker(cfg, run_dir, state.get("wandb_id"))
        stack.callback(tracker.finish)
        bar = stack.enter_context(progress())

        steps = cfg.trainer.steps
        alarms = build_alarms(cfg.alarm)
        earlier = _earlier_seconds(run_dir, checkpoint)
        task = bar.add_task("training", total=steps, visible=False)

        def on_step(step: int, metrics: dict[str, float]) -> None:
            wall = earlier + time.perf_counter() - start
            fired = alarms.check(step, metrics)
            metrics |= alarms.metrics(fired)
            metrics_file.write([{"step": step, "attempt": attempt, "wall_seconds": wall, **metrics}])
            tracker.log(metrics, step)
            if trainer.collected is not None:
                tracker.samples(trainer.collected.records, step)
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
            engines = stack.enter_context(
                Engines(kind, cfg.engine, cfg.rollout, codec, model=model, llm=llm, power=power)
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
            train_problems,
            collector,
            build_curriculum(cfg.curriculum),
            kind,
            attempt,
            [MetricsCallback(on_step, cfg.trainer.minibatches)],
        )
        console.print(f"engine: {kind}")

        def evaluations(phase: str, step: int) -> dict[str, Any]:
            results = {}
            trainer.push_weights()
            for mode in cfg.evaluate.modes:
                total = len(heldout) * cfg.evaluate.k
                evaluator = collector(trainer, mode)
                eval_task = bar.add_task(f"evaluating {phase} training, {mode}", total=total, meter=evaluator)
                results[mode] = evaluate(
                    evaluator,
                    heldout,
                    mode,
                    cfg.evaluate,
                    phase=phase,
                    step=step,
                    attempt=attempt,
                    on_finish=partial(bar.advance, eval_task),
                )
                bar.remove_task(eval_task)
            return results

        if "before" not in state:
            state = {"before": evaluations("before", 0), "wandb_id": tracker.run_id}
            write_json(run_dir / STATE, state)
        bar.update(task, visible=True, meter=trainer)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        after = evaluations("after", trainer.rollout_step)
        bar.remove_task(task)

        rows = read_metrics(run_dir / METRICS)
        summary = {
            "settings": provenance.settings(cfg) | {"jail": sandbox.jail, "engine": kind},
            "before": state["before"],
            "after": after,
            "steps": trainer.rollout_step,
            "wall_seconds": earlier + time.perf_counter() - start,
            "seconds": {name: sum(row[f"seconds/{name}"] for row in rows) for name in TIMED},
            "curve": [{"step": row["step"], "accuracy": row["accuracy"]} for row in rows],
            "sandbox": sandbox.stats(),
            "checkpoint": str(checkpoints.resolve(run_dir)),
        }
        write_json(run_dir / SUMMARY, summary)
        tracker.finish({"before": state["before"], "after": after})
    console.print(comparison(state["before"], after))
    console.print(f"{run_dir / SUMMARY}: {summary['steps']} steps in {summary['wall_seconds']:.0f} s")
    return summary


def _describe(metrics: dict[str, float]) -> str:
    return f"training, reward {metrics['reward']:+.2f}, accuracy {metrics['accuracy']:.2f}"


def _take_over(cfg: Config, run_dir: Path) -> Path | None:
    """Return the checkpoint to resume from, with what its run wrote copied into ``run_dir``."""
    if cfg.trainer.resume is None:
        return None
    checkpoint = checkpoints.resolve(Path(cfg.trainer.resume).expanduser())
    origin = checkpoint.parent.parent
    run_dir.mkdir(parents=True, exist_ok=True)
    if origin.resolve() != run_dir.resolve():
        for name in (RECORDS, METRICS, STATE):
            shutil.copy(origin / name, run_dir / name)
    earlier = json.loads((origin / "config.json").read_text())
    for key, (old, new) in provenance.changes(earlier, asdict(cfg)).items():
        if key != "trainer.resume":
            console.print(f"resuming with {key}={new}; it was {old}")
    return checkpoint


def _earlier_seconds(run_dir: Path, checkpoint: Path | None) -> float:
    """Return the wall seconds that the resumed run had spent when its checkpoint was written."""
    if checkpoint is None:
        return 0.0
    rows = [row for row in read_metrics(run_dir / METRICS) if row["step"] < checkpoints.step_of(checkpoint)]
    return float(rows[-1]["wall_seconds"]) if rows else 0.0


def _read_state(run_dir: Path) -> dict[str, Any]:
    return dict(json.loads((run_dir / STATE).read_text()))
