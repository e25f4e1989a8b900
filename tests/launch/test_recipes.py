"""Every experiment composes, says what it is meant to say, and runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from src.config import Config
from src.config.composition import compose
from src.config.paths import CONF, ROOT
from src.launch import checks
from src.rewards import Outcome
from src.rewards.terms import overlong

EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
PAPERS = ["cir_qwen2.5_math_7b", "cir_qwen3_8b", "cir_qwen2.5_math_1.5b"]
BASELINES = ["text_only", "torl", "simpletir", "dapo", "grpo"]
# What makes a recipe small: two steps of two groups of four with the mini policy on this machine.
SMALL = [
    "model=mini",
    "model.path=experiments/mini_base",
    "data=mini",
    "data.train_size=64",
    "data.heldout_size=2",
    "engine=transformers",
    "evaluate.modes=[free]",
    "rollout.max_tokens=96",
    "reward.overlong_tokens=32",
    "trainer.steps=2",
    "trainer.batch_size=8",
    "trainer.samples_per_prompt=4",
    "trainer.minibatches=2",
    "trainer.micro_batch_size=2",
    "trainer.checkpoint_every=0",
    "tracking=none",
]
# The mini policy was warm-started in the fence format.
WITHOUT_WARM_START = ["model.force_prompt_style=true"]


def composed(*overrides: str) -> Config:
    return checks.load(Config, compose("train", Config, list(overrides)))


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a machine with GPUs has: vLLM, and the file of training problems."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(checks, "find_spec", lambda name: name)
    (tmp_path / "train.parquet").touch()
    return [f"data.train_path={tmp_path / 'train.parquet'}"]


def needed(experiment: str, elsewhere: list[str]) -> list[str]:
    if experiment == "midi":  # its policy is made first
        return ["model.path=experiments/mini_base"]
    if experiment == "mini_hermes":
        return WITHOUT_WARM_START
    return elsewhere if "cir_" in experiment else []


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_and_checks(experiment: str, elsewhere: list[str]) -> None:
    if experiment == "released":  # which is added to the recipe
        experiment = "[cir_qwen2.5_math_7b,released]"
    composed(f"+experiment={experiment}", *needed(experiment, elsewhere))


@pytest.mark.parametrize("experiment", PAPERS)
def test_the_papers_settings(experiment: str, elsewhere: list[str]) -> None:
    """The table of the released system: sizes, loss, reward, curriculum."""
    cfg = composed(f"+experiment={experiment}", *elsewhere)
    trainer, rollout, reward = cfg.trainer, cfg.rollout, cfg.reward
    assert trainer.batch_size // trainer.samples_per_prompt == 128
    assert trainer.samples_per_prompt == 16
    assert trainer.batch_size // trainer.samples_per_prompt // trainer.minibatches == 64
    assert (trainer.steps, trainer.learning_rate, trainer.lr_schedule) == (300, 1e-6, "constant")
    assert (trainer.clip_low, trainer.clip_high, trainer.dual_clip) == (0.2, 0.28, 3.0)
    assert (trainer.kl_coef, trainer.entropy_coef, trainer.exclude, trainer.dynamic_sampling) == (
        0.0,
        0.0,
        [],
        0,
    )
    assert (trainer.advantage, trainer.loss_type) == ("reinforce_plus_plus_baseline", "dapo")
    assert (rollout.temperature, rollout.top_p) == (1.0, 1.0)
    assert (rollout.max_prompt_tokens, rollout.max_tokens) == (1024, 4096)
    assert (rollout.feedback_chars, rollout.over_budget, rollout.mask) == (400, "continue", "exact")
    assert (reward.correct, reward.wrong) == (1.0, -1.0)
    assert not any((reward.executability, reward.answered, reward.tool_cost, reward.overlong))
    assert [(stage.step, stage.budget) for stage in cfg.curriculum.stages] == [(0, 2), (100, 3), (200, 4)]
    assert (cfg.model.dtype, trainer.autocast, cfg.model.lora.rank) == ("float32", "bfloat16", 0)
    style = "chat_without_thinking" if "qwen3" in experiment else "plain"
    assert cfg.model.prompt_style == style
    assert cfg.evaluate.budget == 5


@pytest.mark.parametrize("experiment", PAPERS)
def test_adapters_change_the_weights_that_are_trained_and_nothing_else(
    experiment: str, elsewhere: list[str]
) -> None:
    whole = composed(f"+experiment={experiment}", *elsewhere)
    adapters = composed(f"+experiment=[{experiment},lora]", *elsewhere)
    assert adapters.model.lora.rank == 64
    adapters.model, adapters.trainer.learning_rate = whole.model, whole.trainer.learning_rate
    assert adapters == whole


@pytest.mark.parametrize(
    ("recipe", "limit"),
    [
        ("mini", 256),
        *((one, 4096) for one in ("cir_qwen2.5_math_7b", "cir_qwen2.5_math_1.5b", "cir_qwen3_8b")),
    ],
)
def test_the_penalty_of_dapo_is_of_the_last_fifth(recipe: str, limit: int, elsewhere: list[str]) -> None:
    cfg = composed(f"+experiment=[{recipe},dapo]", *needed(recipe, elsewhere))
    assert cfg.rollout.max_tokens == limit

    def penalty(share: float) -> float:
        tokens = round(share * limit)
        return overlong(Outcome(True, None, (), (), "length", tokens, limit), cfg.reward)

    assert penalty(0.79) == 0
    assert penalty(0.9) == pytest.approx(-0.5, abs=0.02)
    assert penalty(1.0) == -1


WANTED = {
    "text_only": {"rollout.tools": False, "rollout.mode": "text", "trainer.dual_clip": 3.0},
    "torl": {
        "rollout.boundary": "stop_string",
        "curriculum.kind": "fixed",
        "curriculum.budget": 1,
        "trainer.advantage": "grpo",
        "trainer.clip_high": 0.2,
        "reward.executability": 0.0,
    },
    "simpletir": {"trainer.exclude": ["void"], "trainer.dynamic_sampling": 3, "curriculum.budget": 5},
    "dapo": {
        "trainer.dynamic_sampling": 3,
        "trainer.clip_high": 0.28,
        "reward.overlong": 1.0,
        "trainer.kl_coef": 0.0,
    },
    "grpo": {"trainer.advantage": "grpo", "trainer.loss_type": "grpo", "trainer.kl_coef": 0.04},
}


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("recipe", PAPERS)
def test_a_baseline_differs_from_the_recipe_in_its_idea_only(
    recipe: str, baseline: str, elsewhere: list[str]
) -> None:
    ours = composed(f"+experiment={recipe}", *elsewhere)
    theirs = composed(f"+experiment=[{recipe},{baseline}]", *elsewhere)
    for name, value in WANTED[baseline].items():
        group, key = name.split(".")
        assert getattr(getattr(theirs, group), key) == value
    assert (theirs.model, theirs.data, theirs.engine) == (ours.model, ours.data, ours.engine)
    assert theirs.rollout.max_tokens == ours.rollout.max_tokens
    for name in ("batch_size", "samples_per_prompt", "minibatches", "learning_rate", "steps"):
        assert getattr(theirs.trainer, name) == getattr(ours.trainer, name)


@pytest.mark.long
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_runs(experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from src.experiment.training import run

    monkeypatch.chdir(ROOT)
    forced = WITHOUT_WARM_START if experiment in ("mini_hermes", "released") else []
    if experiment == "released":  # its benchmark is a data set of the hub
        forced = [*forced, "evaluate.every=1", "evaluate.benchmarks=[{benchmark:mini,size:2}]"]
    cfg = composed(f"+experiment={experiment}", *SMALL, *forced)
    summary: dict[str, Any] = run(cfg, tmp_path)
    assert summary["steps"] == 2
    assert summary["after"]["free"]["n"] == 2
    assert (tmp_path / "checkpoints" / "step-2").is_dir()
