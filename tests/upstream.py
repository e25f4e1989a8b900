"""For the tests of what we rely on in packages: TRL's own trainer around the tiny policy, and who is told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel
from trl import GRPOConfig, GRPOTrainer

from src.config.paths import ROOT
from tests import tiny
from tests.fakes import BPE

COMPLETIONS = [[5] * length for length in (3, 1, 4, 2, 8, 5, 6, 7)]
REWARDS = [1.0, -1.0, 1.0, 0.0, 0.5, 0.5, 0.5, -1.0]


@contextmanager
def used_by(*modules: str) -> Iterator[None]:
    """A decorator of tests: a failure names the ``modules`` of ours that rely on what is tested."""
    missing = [name for name in modules if not (ROOT / name).is_file()]
    assert not missing, f"no such files: {missing}"
    try:
        yield
    except Exception as error:
        error.add_note(f"an installed package has changed what we rely on: look at {', '.join(modules)}")
        raise


def plain(folder: Path, model: PreTrainedModel | None = None, **options: Any) -> GRPOTrainer:
    """TRL's GRPOTrainer: eight trajectories of two problems a rollout, in four micro-batches.

    Args:
        folder: its output.
        model: the policy; None: a fresh tiny one.
        options: of GRPOTrainer (``reward_funcs``, ``rollout_func``, ``callbacks``, ``train_dataset``), and of
            GRPOConfig.
    """
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    names = ("reward_funcs", "rollout_func", "callbacks", "train_dataset")
    own = {name: options.pop(name) for name in names if name in options}
    rows = [{"prompt": f"p{i:02d}", "problem": i} for i in range(16)]
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 4,
        "steps_per_generation": 4,
        "num_generations": 4,
        "max_steps": 2,
        "max_completion_length": 8,
        "learning_rate": 1e-2,
        "save_strategy": "no",
        "remove_unused_columns": False,
        "bf16": False,
        "use_cpu": not torch.cuda.is_available(),
        "report_to": "none",
        "disable_tqdm": True,
    }
    return GRPOTrainer(
        model=model or tiny.model(),
        args=GRPOConfig(**(settings | options)),
        processing_class=BPE.tokenizer,
        **({"reward_funcs": lambda reward, **_: reward, "train_dataset": Dataset.from_list(rows)} | own),
    )


def rollout(**more: Any) -> dict[str, Any]:
    """What a ``rollout_func`` returns for eight prompts."""
    prompts = [[1, 2]] * 4 + [[3]] * 4
    return {
        "prompt_ids": prompts,
        "completion_ids": COMPLETIONS,
        "logprobs": None,
        "reward": REWARDS,
    } | more


def given(folder: Path, more: dict[str, Any] | None = None, **options: Any) -> GRPOTrainer:
    """A trainer whose rollouts are ``rollout()`` with ``more``."""
    return plain(folder, rollout_func=lambda prompts, trainer: rollout(**(more or {})), **options)


def rows_of(trainer: GRPOTrainer) -> list[dict[str, Any]]:
    """What the first rollout is asked for: one row per trajectory."""
    rows: list[dict[str, Any]] = next(iter(trainer.get_train_dataloader()))
    return rows


def score(trainer: GRPOTrainer) -> dict[str, Any]:
    """Make the first rollout of ``trainer``; what is handed on to the loss."""
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    output: dict[str, Any] = trainer._generate_and_score_completions(rows_of(trainer))
    return output
