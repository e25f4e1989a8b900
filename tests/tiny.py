"""A random Qwen3 policy of a few thousand parameters and a trainer around it, for tests of the wiring."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM, TrainerCallback

from src.config import Config, CurriculumConfig, StageConfig, TrainerConfig
from src.rewards import Grade
from src.rollout.collector import Collector
from src.rollout.engines import Engine, Generation
from src.rollout.engines.transformers import TransformersEngine
from src.run.processes import Ranks
from src.run.records import RankWriter
from src.sandbox import Sandbox
from src.trainer import CIRTrainer, TrainingStep
from src.trainer.curriculum import build_curriculum
from src.trainer.step import Report, no_report
from tests.fakes import BPE, environment, problem


def model(seed: int = 0) -> Qwen3ForCausalLM:
    """A fresh policy over the vocabulary of ``fakes.BPE``."""
    torch.manual_seed(seed)
    tokenizer = BPE.tokenizer
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            tie_word_embeddings=True,
        )
    )


def config(**trainer: Any) -> Config:
    """Four trajectories of two problems a step, two optimizer steps a rollout."""
    options: dict[str, Any] = {
        "steps": 2,
        "batch_size": 8,
        "samples_per_prompt": 4,
        "minibatches": 2,
        "micro_batch_size": 2,
        "learning_rate": 1e-2,
        "checkpoint_every": 0,
    }
    cfg = Config(trainer=TrainerConfig(**(options | trainer)))
    cfg.model.prompt_style = "mini"
    cfg.reward.lenient = False  # its grader gives grades in turn
    cfg.rollout.max_tokens = 40
    cfg.curriculum = CurriculumConfig(stages=[StageConfig(0, 1), StageConfig(1, 2)])
    return cfg


class FakeGrader:
    """Says that every third answer of a rollout of eight is right."""

    def __init__(self) -> None:
        self._asked = 0

    def submit(self, gold: str, answer: str | None) -> Future[Grade]:
        future: Future[Grade] = Future()
        future.set_result(Grade(correct=self._asked % 8 % 3 == 0))
        self._asked += 1
        return future


class CodingEngine(TransformersEngine):
    """Samples from the model, but slips a code block in front of whatever it says first."""

    def poll(self, until: float | None = None) -> list[Generation]:
        block = BPE.encode("```python\nprint(1)\n```")
        first = {r.id for r in self._pending if len(r.token_ids) < 40 and r.max_tokens == 40}
        polled = super().poll(until)
        return [
            Generation(g.id, (block + g.token_ids)[:40], None, g.finish) if g.id in first else g
            for g in polled
        ]


class AfterStep(TrainerCallback):
    """Does something after each logged step, as src.experiment.training does."""

    def __init__(self, what: Callable[[], None]) -> None:
        self._what = what

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._what()


def trainer(
    cfg: Config,
    run_dir: Path,
    *,
    sandbox: Sandbox | None = None,
    attempt: int = 0,
    callbacks: list[Any] | None = None,
    engine: Callable[..., Engine] = CodingEngine,
    grader: Any = None,
    ranks: Ranks | None = None,
    problems: int = 16,
    report: Report = no_report,
) -> CIRTrainer:
    """A trainer whose trajectories each begin with an execution."""
    policy = model(cfg.trainer.seed)
    sampler = engine(policy, BPE, temperature=1.0, top_p=1.0, batch_size=64)
    writer = RankWriter(run_dir / "trajectories.jsonl", ranks or Ranks())
    given = environment(
        sandbox=sandbox, grader=grader or FakeGrader(), rollout=cfg.rollout, reward=cfg.reward
    )
    collector = Collector(sampler, given, writer)
    asked = [problem(name=f"p{i}") for i in range(problems)]
    built = CIRTrainer(cfg, run_dir, policy, BPE.tokenizer, asked, callbacks=callbacks, ranks=ranks)
    curriculum = build_curriculum(cfg.curriculum)
    built.attach(TrainingStep(cfg, asked, collector, curriculum, ranks, attempt, report))
    built.add_callback(AfterStep(writer.share))
    return built
