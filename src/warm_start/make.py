"""Builds ``experiments/mini_base``: tokenizer, policy, evaluation, summary and README."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3ForCausalLM

from src.config import (
    SUBJECTS,
    Config,
    DataConfig,
    EvaluateConfig,
    ModelConfig,
    RolloutConfig,
    WarmStartConfig,
)
from src.experiment.evaluation.evaluator import Evaluator
from src.formats.build import build_format
from src.launch.checks.model_files import Notes, write_notes
from src.policy.codec import TokenCodec
from src.problems import load_problems
from src.rollout.engines.transformers import TransformersEngine
from src.rollout.environment import open_environment
from src.run import provenance
from src.run.records import RECORDS, SUMMARY, Occasion, RecordWriter
from src.tools import PythonTool
from src.warm_start.corpus import HABITS
from src.warm_start.policy import build_model, build_tokenizer
from src.warm_start.training import train


def make_base(cfg: WarmStartConfig, run_dir: Path) -> dict[str, Any]:
    """Train the mini base policy, save it in ``cfg.output`` and return the contents of its summary.json.

    Args:
        cfg: checked configuration.
        run_dir: where the trajectories of the evaluation are written.
    """
    start = time.perf_counter()
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    torch.manual_seed(cfg.seed)
    form = build_format(cfg.format, [PythonTool(None)], None, "mini")
    tokenizer = build_tokenizer(cfg, form)
    model = build_model(cfg, tokenizer)
    if torch.cuda.is_available():
        model.to("cuda")
    loss = train(cfg, form, model, tokenizer)
    seconds = time.perf_counter() - start
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=True
    )
    output = Path(cfg.output)
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    write_notes(output, Notes("mini", cfg.format))
    summary = {
        "settings": {
            **asdict(cfg),
            "habits": asdict(HABITS),
            "evaluation": asdict(EvaluateConfig()) | {"max_tokens": RolloutConfig().max_tokens},
            "commit": provenance.commit(),
            "torch": torch.__version__,
            "torch_threads": torch.get_num_threads(),
        },
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "loss": loss,
        "train_seconds": seconds,
        "base": measure(cfg, model, tokenizer, run_dir),
    }
    (output / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n")
    (output / "README.md").write_text(readme(summary))
    return summary


def measure(
    cfg: WarmStartConfig, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, run_dir: Path
) -> dict[str, Any]:
    """Evaluate the policy in every mode, as ``src.train`` does before training."""
    settings = Config(model=ModelConfig(prompt_style="mini"), format=cfg.format)
    sampling = settings.evaluate
    problems = load_problems(DataConfig(heldout_size=cfg.heldout_size), "heldout")
    codec = TokenCodec(tokenizer)
    engine = TransformersEngine(
        model, codec, temperature=sampling.temperature, top_p=sampling.top_p, batch_size=256
    )
    results = {}
    with (
        open_environment(settings, codec) as environment,
        RecordWriter(run_dir / RECORDS) as writer,
    ):
        evaluator = Evaluator(engine, environment, sampling, writer)
        for mode in sampling.modes:
            results[mode] = evaluator.evaluate(problems, mode, Occasion("base"))[0].summary()
    return results


def readme(summary: dict[str, Any]) -> str:
    """Return the README of the base policy: command, seed, training time and the table of results."""
    base, settings = summary["base"], summary["settings"]
    sampling = settings["evaluation"]
    rows = [("all", [base[mode] for mode in base])]
    rows += [(subject, [base[mode]["by_subject"].get(subject) for mode in base]) for subject in SUBJECTS]
    lines = [f"| {name} | {' | '.join(map(_cell, cells))} |" for name, cells in rows]
    measures = (
        ("execution failure rate", "execution_failure_rate"),
        ("accuracy after a failed execution", "accuracy_after_failure"),
        ("tool-use rate", "tool_use_rate"),
        ("policy tokens per trajectory", "tokens/policy"),
        ("feedback tokens per trajectory", "tokens/feedback"),
    )
    for name, key in measures:
        values = [base[mode]["metrics"].get(key) for mode in base]
        lines.append(f"| {name} | {' | '.join('-' if v is None else f'{v:.2f}' for v in values)} |")
    table = "\n".join(lines)
    return f"""# The mini base policy

A beginner, deliberately: it can write code and can reason in words, but chooses between them at random
and is careless. The main job (`make train`) starts from here.

Made by `python -m src.warm_start` with seed {settings["seed"]}: {summary["parameters"]:,} parameters
(Qwen3 architecture), {settings["vocab_size"]} tokens (byte-level BPE, single digits, a fence is one token),
{settings["steps"]} steps of {settings["batch_size"]} generated solutions in {summary["train_seconds"]:.0f} s
on {settings["torch_threads"]} threads, final loss {summary["loss"]:.3f} nats per token that it learns.
All settings are in summary.json.

Accuracy on {base["free"]["n"]} held-out problems with 95 % intervals, one trajectory each at temperature
{sampling["temperature"]:g}, at most {sampling["budget"]} executions and {sampling["max_tokens"]} tokens,
seed {sampling["seed"]}:

| | {" | ".join(base)} |
| --- |{" --- |" * len(base)}
{table}
"""


def _cell(result: dict[str, Any] | None) -> str:
    if result is None or result["accuracy"] is None:
        return "-"
    low, high = result["interval"]
    return f"{result['accuracy']:.2f} ({low:.2f}-{high:.2f})"
