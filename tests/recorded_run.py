"""A run of the tiny policy with the files of a run, and a replay of one of its steps."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from src.config import Config
from src.replay.replay import Replay, Result
from src.rollout.engines import Generation
from src.run.disk import write_json
from tests import tiny
from tests.fakes import BPE


class Telling(tiny.CodingEngine):
    """Gives logprobs that are somewhat off."""

    def poll(self, until: float | None = None) -> list[Generation]:
        return [
            Generation(g.id, g.token_ids, [-(i % 7 + 1) / 2 for i in range(len(g.token_ids))], g.finish)
            for g in super().poll(until)
        ]


class Silent:
    """An engine whose weights need no synchronising."""

    def sync_weights(self) -> None:
        pass


def config(**trainer: Any) -> Config:
    cfg = tiny.config(**{"steps": 3, "checkpoint_every": 1, "keep_checkpoints": 9} | trainer)
    cfg.records.tokens = True
    return cfg


def train(
    cfg: Config, run: Path, *, attempt: int = 0, resume: Path | None = None, corrected: bool = False
) -> None:
    """Train the tiny policy, with the files of a run."""

    def report(step: int, metrics: dict[str, float], fired: object) -> None:
        with (run / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, "attempt": attempt} | metrics) + "\n")

    engine = Telling if corrected else tiny.CodingEngine
    trainer = tiny.trainer(cfg, run, attempt=attempt, engine=engine, report=report)
    if corrected:  # as with vLLM
        trainer.use_vllm, trainer.vllm_generation, trainer._last_loaded_step = True, Silent(), -1
        trainer.vllm_importance_sampling_mode = cfg.trainer.importance_sampling
        trainer.vllm_importance_sampling_clip_max = cfg.trainer.importance_sampling_max
    write_json(run / "config.json", asdict(cfg))
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)


def load(cfg: Config) -> Any:
    return tiny.model(cfg.trainer.seed), BPE.tokenizer


def again(cfg: Config, run: Path, step: int, other: Config | None = None, **options: Any) -> Result:
    """Replay a step, which raises if anything but the last bit is equal."""
    return Replay(cfg, run, run / f"again-{step}", step, load=load, **options).run(other)


def copied(run: Path, to: Path) -> Path:
    names = ("trajectories.jsonl", "metrics.jsonl", "config.json")
    for name in names:
        shutil.copy(run / name, to / name)
    for name in ("tokens", "checkpoints"):
        shutil.copytree(run / name, to / name)
    return to
