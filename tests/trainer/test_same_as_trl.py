"""Where we change nothing, we are TRL: the same seed gives the same samples, losses and weights.

TRL's own GRPOTrainer samples for itself, with settings written out here, not translated by ours.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from trl import GRPOTrainer

from src.config import Config, CurriculumConfig, RewardConfig
from src.problems.prompt_text import build_prompt
from src.rewards import Outcome
from src.rollout.engines.transformers import TransformersEngine
from tests import tiny
from tests.fakes import BPE, problem
from tests.upstream import plain

STEPS = 5
SAME = 1e-5


def worth(text: str) -> float:
    """A reward that depends on every character."""
    return sum(map(ord, text)) % 7 / 3


@pytest.fixture(autouse=True)
def rewarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our only reward term is ``worth``."""

    def term(outcome: Outcome, cfg: RewardConfig) -> float:
        return worth("".join(outcome.policy_texts))

    monkeypatch.setattr(import_module("src.rewards.compose"), "TERMS", {"worth": term})


class Losses:
    """The loss of every micro-batch that ``trainer`` computes from now on."""

    def __init__(self, trainer: GRPOTrainer) -> None:
        self._compute, self.values = trainer._compute_loss, []
        self.tokens: list[int] = []
        trainer._compute_loss = self._keep

    def of_steps(self, steps: int) -> tuple[list[list[int]], list[float]]:
        """Tokens of each optimizer step's rows, sorted, and its loss: which rows are together is ours."""
        rows, losses = len(self.tokens) // steps, len(self.values) // steps
        tokens = [sorted(self.tokens[step * rows : (step + 1) * rows]) for step in range(steps)]
        return tokens, [sum(self.values[step * losses : (step + 1) * losses]) for step in range(steps)]

    def _keep(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        loss: torch.Tensor = self._compute(model, inputs)
        self.values.append(loss.item())
        self.tokens += inputs["completion_mask"].sum(dim=1).tolist()
        return loss


def settings(minibatches: int) -> Config:
    return tiny.config(
        steps=STEPS, minibatches=minibatches, advantage="grpo", learning_rate=3e-3, max_grad_norm=0.5
    )


def trls(folder: Path, width: int, minibatches: int, **options: Any) -> GRPOTrainer:
    """TRL's trainer with what ``settings`` says, in its own words; problem numbers have ``width`` digits."""
    problems = [problem(name=f"p{i:0{width}d}") for i in range(16)]
    return plain(
        folder,
        tiny.model(),
        train_dataset=Dataset.from_list([{"prompt": build_prompt(p, "free", "mini")} for p in problems]),
        gradient_accumulation_steps=4 // minibatches,
        max_steps=STEPS * minibatches,
        max_completion_length=40,
        learning_rate=3e-3,
        lr_scheduler_type="constant",
        max_grad_norm=0.5,
        epsilon=0.2,
        epsilon_high=0.28,
        delta=3.0,
        beta=0.0,
        loss_type="dapo",
        scale_rewards="group",
        seed=0,
        **options,
    )


def apart(one: torch.nn.Module, other: torch.nn.Module) -> float:
    """Largest difference of two weights."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max((a - b).abs().max().item() for a, b in pairs)


@pytest.mark.parametrize("minibatches", [pytest.param(1, marks=pytest.mark.long), 2])
def test_without_tools_we_are_trls_trainer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minibatches: int
) -> None:
    """Each samples with ``generate``. Prompts are of one length: TRL samples in the order of the prompts, our
    engine in the order of their lengths, so that otherwise a row would get another one's random numbers."""
    monkeypatch.setattr(tiny, "problem", lambda name: problem(name=f"p{int(name[1:]):02d}"))
    cfg = settings(minibatches)
    cfg.rollout.tools = False
    cfg.curriculum = CurriculumConfig(kind="fixed", budget=0)
    ours = tiny.trainer(cfg, tmp_path / "ours", engine=TransformersEngine)
    mine = Losses(ours)
    ours.train()
    theirs = trls(  # only now: to make a trainer is to seed
        tmp_path / "theirs", 2, minibatches,
        reward_funcs=lambda completion_ids, **_: [worth(BPE.text(ids)) for ids in completion_ids],
    )  # fmt: skip
    reference = Losses(theirs)
    theirs.train()
    assert len(mine.values) == 4 * STEPS
    assert len(set(mine.tokens)) > 1, "some end before the limit"
    (tokens, losses), (expected, reference_losses) = (
        of.of_steps(STEPS * minibatches) for of in (mine, reference)
    )
    assert tokens == expected
    assert losses == pytest.approx(reference_losses, abs=SAME)
    assert apart(ours.model, theirs.model) < SAME
    assert apart(ours.model, tiny.model()) > 1000 * SAME, "there was something to be the same in"


@pytest.mark.parametrize("minibatches", [pytest.param(1, marks=pytest.mark.long), 2])
def test_with_tools_too_given_the_same_trajectories(tmp_path: Path, minibatches: int) -> None:
    """Prompts of several lengths, executions, masked feedback. TRL's trainer is handed what ours has made,
    and the state of the random numbers, with which both go on to shuffle."""
    ours = tiny.trainer(settings(minibatches), tmp_path / "ours")
    made: list[tuple[dict[str, Any], torch.Tensor]] = []
    roll = ours.rollout_func

    def keep(prompts: list[Any], trainer: GRPOTrainer) -> dict[str, Any]:
        made.append((roll(prompts, trainer), torch.get_rng_state()))
        return made[-1][0]

    def replay(prompts: list[Any], trainer: GRPOTrainer) -> dict[str, Any]:
        output, state = made.pop(0)
        assert [BPE.tokenizer(prompt)["input_ids"] for prompt in prompts] == output["prompt_ids"]
        torch.set_rng_state(state)
        return output

    ours.rollout_func = keep
    theirs = trls(tmp_path / "theirs", 1, minibatches, rollout_func=replay)
    mine, reference = Losses(ours), Losses(theirs)
    ours.train()
    assert any(0 in mask for output, _ in made for mask in output["env_mask"])
    assert len({len(ids) for output, _ in made for ids in output["prompt_ids"]}) > 1
    theirs.train()
    (tokens, losses), (expected, reference_losses) = (
        of.of_steps(STEPS * minibatches) for of in (mine, reference)
    )
    assert tokens == expected
    assert losses == pytest.approx(reference_losses, abs=SAME)
    assert apart(ours.model, theirs.model) < SAME
