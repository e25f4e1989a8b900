"""An evaluation from its configuration to summary.json; goes on where an earlier process was stopped."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.markup import escape

from src.config import EvaluationConfig
from src.config.schema import ConfigError, build, show
from src.experiment.evaluation import Results, evaluate
from src.formats.build import build_format
from src.policy.loading import load_model, whole_model
from src.policy.prompting import first_prompt, fit_benchmark, settle
from src.problems import Problem, answers_taken, load_benchmark
from src.rewards import Grader
from src.rewards.golds import refuse_unreadable
from src.rollout.collector import Collector
from src.rollout.engines.build import Engines, choose_engine
from src.rollout.engines.colocated import load_llm
from src.run import provenance
from src.run.console import comparison, console, progress
from src.run.records import RecordWriter, iter_records, write_json
from src.sandbox import build_sandbox
from src.tools.build import build_tools

PHASE = "evaluate"
RECORDS, SUMMARY = "trajectories.jsonl", "summary.json"
_MAY_CHANGE = ("engine.", "sandbox.", "evaluate.resume", "reward.grade_", "rollout.max_live")


class Earlier:
    """What earlier processes of the same evaluation have recorded, by mode.

    Attributes:
        done: problem id and sample of each trajectory.
        results: that count them.

    Raises:
        ConfigError: they were sampled without random streams of their own, so that going on is biased.
    """

    def __init__(self, file: Path, temperature: float) -> None:
        self.done: dict[str, set[tuple[str, int]]] = defaultdict(set)
        self.results: dict[str, Results] = defaultdict(Results)
        if not file.exists():
            return
        for record in iter_records(file):
            if record.seed is None and temperature > 0:
                raise ConfigError(
                    f"{file}: an older version began this evaluation; to go on would draw what was under way "
                    "again, with other random numbers, and favour trajectories that end early; evaluate anew "
                    "in another folder (hydra.run.dir)"
                )
            self.done[record.mode].add((record.problem_id, record.sample))
            self.results[record.mode].add(record)


def run(cfg: EvaluationConfig, run_dir: Path) -> dict[str, Any]:
    """Evaluate ``cfg.model`` in every mode and return what is written to ``summary.json``.

    Args:
        cfg: checked configuration.
        run_dir: where trajectories and summary are written; with ``evaluate.resume`` those of an earlier
            process may be there, of which none is repeated.

    Raises:
        ConfigError: there are some and ``evaluate.resume`` is off, or they were made with other settings;
            see src/policy/prompting.py, too.
        EngineError, SandboxError, ProblemError, PromptError: what is needed is not there; trajectories
            that had finished are recorded.
    """
    start = time.perf_counter()
    cfg, codec = settle(cfg)
    _check_folder(cfg, run_dir)
    earlier = Earlier(run_dir / RECORDS, cfg.evaluate.temperature)
    kind = choose_engine(cfg.engine)
    taken: Counter[str] = Counter()
    problems = load_benchmark(cfg.benchmark, taken=taken)
    if taken:
        console.print(escape(answers_taken(taken)))
    if cfg.benchmark.kind != "mini":
        refuse_unreadable(problems, cfg.benchmark.fields, "benchmark", cfg.reward.grade_seconds)
    with ExitStack() as stack:
        sandbox = stack.enter_context(build_sandbox(cfg.sandbox))
        console.print(f"sandbox: {sandbox.jail}, {sandbox.workers} workers; engine: {kind}")
        tools = build_tools(cfg.tools, sandbox)
        stack.callback(tools.close)
        form = build_format(cfg.format, list(tools), codec.tokenizer, cfg.model.prompt_style)
        # of all, in every shard: each leaves out the same, or refuses at once
        problems, left_out = fit_benchmark(problems, cfg, codec.tokenizer, form)
        prompt = first_prompt(codec, problems[0], cfg.evaluate.modes, cfg.model, form)
        problems = shard(problems, cfg.evaluate.shard)
        provenance.save(cfg, run_dir)
        llm, model = None, None
        if kind == "vllm":
            with whole_model(cfg.model, run_dir) as whole:
                llm = load_llm(cfg.engine, whole, cfg.rollout, cfg.evaluate.seed)
        elif kind == "transformers":
            model = load_model(cfg.model).to("cuda" if torch.cuda.is_available() else "cpu")
        grader = stack.enter_context(Grader(cfg.reward.grade_workers, cfg.reward.grade_seconds))
        writer = stack.enter_context(RecordWriter(run_dir / RECORDS))
        engines = stack.enter_context(Engines(kind, cfg.engine, cfg.rollout, codec, model=model, llm=llm))
        bar = stack.enter_context(progress())
        engine = engines.make(cfg.evaluate.temperature, cfg.evaluate.top_p)
        results = {}
        for mode in cfg.evaluate.modes:
            rollout = replace(cfg.rollout, tools=mode != "text")
            style = cfg.model.prompt_style
            collector = Collector(engine, tools, form, grader, codec, rollout, cfg.reward, style, writer)
            done = earlier.done[mode]
            total = len(problems) * cfg.evaluate.k
            task = bar.add_task(f"evaluating, {mode}", total=total, completed=len(done), meter=collector)
            results[mode] = evaluate(
                collector,
                problems,
                mode,
                cfg.evaluate,
                phase=PHASE,
                step=0,
                on_finish=partial(bar.advance, task),
                done=done,
                results=earlier.results[mode],
            )
            results[mode]["rollout"] = collector.metrics()
            bar.remove_task(task)
    summary = {
        "settings": provenance.settings(cfg) | {"jail": sandbox.jail, "engine": kind},
        "prompt": prompt,
        "left_out": left_out.json(),
        "results": results,
        "wall_seconds": time.perf_counter() - start,
    }
    write_json(run_dir / SUMMARY, summary)
    console.print(comparison({"accuracy": results}))
    console.print(f"{run_dir / SUMMARY}: {summary['wall_seconds']:.0f} s")
    return summary


def shard(problems: Sequence[Problem], part: str | None) -> list[Problem]:
    """Return every N-th problem from the I-th on for ``part`` ``I/N``; all for None."""
    if part is None:
        return list(problems)
    first, step = map(int, part.split("/"))
    return list(problems[first::step])


def _check_folder(cfg: EvaluationConfig, run_dir: Path) -> None:
    if not (run_dir / RECORDS).exists():
        return
    if not cfg.evaluate.resume:
        raise ConfigError(
            f"hydra.run.dir={run_dir}: holds trajectories of an earlier evaluation; go on with it by "
            "evaluate.resume=true, or choose another folder"
        )
    # what the project has got since counts as its default
    earlier = asdict(build(EvaluationConfig, json.loads((run_dir / "config.json").read_text())))
    different = {
        name: values
        for name, values in provenance.changes(earlier, asdict(cfg)).items()
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
