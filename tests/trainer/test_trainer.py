"""The hooks on TRL's GRPOTrainer: advantages, masks, exclusion, records, checkpoints, resuming."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from src.config import CurriculumConfig
from src.problems import Problem
from src.problems.prompt_text import Messages, build_prompt
from src.rollout.trajectory import Author
from src.run import checkpoints
from src.run.checkpoints import CheckpointError
from src.run.records import read_records
from src.sandbox import ExecutionResult, Status
from src.trainer import CIRTrainer, InfrastructureError
from tests import tiny
from tests.fakes import FakeSandbox


class Spy(CIRTrainer):
    """Keeps what each rollout hands to TRL's loss."""

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        self.handed = [*getattr(self, "handed", []), (self.step.collected, output)]
        return output


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny, "CIRTrainer", Spy)


@pytest.mark.usefixtures("spy")
def test_what_reaches_the_loss(tmp_path: Path) -> None:
    trainer = tiny.trainer(tiny.config(), tmp_path)
    trainer.train()
    for collected, output in trainer.handed:
        assert any(t.tokens(Author.TOOL) for t in collected.trajectories)
        policy = output["completion_mask"] * output["tool_mask"]
        for row, trajectory in enumerate(collected.trajectories):
            length = len(trajectory.completion_ids)
            assert output["completion_ids"][row, :length].tolist() == trajectory.completion_ids
            assert policy[row].tolist() == trajectory.mask + [0] * (policy.shape[1] - length)
        rewards = np.array(collected.rewards).reshape(-1, 4)
        centred = (rewards - rewards.mean(axis=1, keepdims=True)).ravel()
        spelt = np.repeat(centred, policy.sum(dim=1).numpy())
        expected = (centred - spelt.mean()) / np.sqrt(spelt.var(ddof=1) + 1e-8)
        np.testing.assert_allclose(output["advantages"].numpy(), expected, atol=1e-5)


@pytest.mark.usefixtures("spy")
def test_trajectory_lost_to_the_infrastructure_counts_nowhere(tmp_path: Path) -> None:
    calls = Counter[str]()

    def reply(code: str) -> ExecutionResult:
        calls["all"] += 1
        if calls["all"] == 3:
            return ExecutionResult(Status.INFRASTRUCTURE, "", "worker died twice", 0.0)
        return ExecutionResult(Status.OK, "1", None, 0.0)

    trainer = tiny.trainer(
        tiny.config(steps=1, max_infrastructure_failure_rate=0.2), tmp_path, sandbox=FakeSandbox(reply)
    )
    trainer.train()
    collected, output = trainer.handed[0]
    lost = [r is None for r in collected.rewards]
    assert sum(lost) == 1
    row = lost.index(True)
    assert (output["completion_mask"] * output["tool_mask"])[row].sum() == 0
    assert output["advantages"][row] == 0
    group = [r for r in collected.rewards[row // 4 * 4 : row // 4 * 4 + 4] if r is not None]
    others = [i for i in range(row // 4 * 4, row // 4 * 4 + 4) if i != row]
    weights = (output["completion_mask"] * output["tool_mask"]).sum(dim=1).double().numpy()
    centred = np.zeros(8)
    for start in (0, 4):
        rewards = np.array([np.nan if r is None else r for r in collected.rewards[start : start + 4]])
        centred[start : start + 4] = np.nan_to_num(rewards - np.nanmean(rewards))
    assert len(group) == len(others) == 3
    spelt = np.repeat(centred, weights.astype(int))
    expected = np.where(weights > 0, (centred - spelt.mean()) / np.sqrt(spelt.var(ddof=1) + 1e-8), 0)
    np.testing.assert_allclose(output["advantages"].numpy(), expected, atol=1e-5)
    assert output["num_items_in_batch"] == weights.sum()


def test_a_prompt_is_built_once_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For each of its problems, though it has several trajectories; and none before the first rollout."""
    built: list[str] = []

    def build(problem: Problem, *arguments: Any) -> str | Messages:
        built.append(problem.id)
        return build_prompt(problem, *arguments)

    monkeypatch.setattr("src.policy.prompt_encoder.build_prompt", build)
    trainer = tiny.trainer(tiny.config(steps=1), tmp_path)
    assert built == []
    trainer.train()
    assert len(built) == 2
    assert set(built) == {record.problem_id for record in trainer.step.records}


def test_too_many_lost_trajectories_stop_the_run_after_recording_them(tmp_path: Path) -> None:
    lost = ExecutionResult(Status.INFRASTRUCTURE, "", "worker died twice", 0.0)
    trainer = tiny.trainer(tiny.config(), tmp_path, sandbox=FakeSandbox(lambda code: lost))
    with pytest.raises(
        InfrastructureError, match=r"8 of 8.*max_infrastructure_failure_rate=0.05.*worker died twice"
    ):
        trainer.train()
    assert len(read_records(tmp_path / "trajectories.jsonl")) == 8


def test_budget_follows_rollout_steps_not_optimizer_steps(tmp_path: Path) -> None:
    logged: list[tuple[int, dict[str, float]]] = []
    trainer = tiny.trainer(
        tiny.config(steps=3),
        tmp_path,
        report=lambda step, metrics, fired: logged.append((step, metrics)),
    )
    trainer.train()
    assert trainer.state.global_step == 6
    assert [(step, metrics["budget"]) for step, metrics in logged] == [(0, 1), (1, 2), (2, 2)]
    records = read_records(tmp_path / "trajectories.jsonl")
    assert {(r.step, r.budget) for r in records} == {(0, 1), (1, 2), (2, 2)}
    assert all(len(r.executions) <= r.budget for r in records)
    needed = {"reward", "accuracy", "accuracy/Algebra", "executions_per_trajectory", "execution_failure_rate",
              "stop/answered", "stop/no_answer", "stop/length", "stop/void", "stop/budget",
              "stop/infrastructure", "tokens/policy", "tokens/feedback", "tokens/dropped_ratio",
              "tool_use_rate", "fabricated_output_rate", "budget_exhausted_rate", "entropy",
              "clip_ratio/low_mean", "clip_ratio/high_mean", "grad_norm", "seconds/step",
              "seconds/generation", "seconds/execution", "seconds/grading", "seconds/update",
              "sandbox/executions"}  # fmt: skip
    assert needed <= set(logged[0][1])


STAGED = tiny.config().curriculum
ADAPTIVE = CurriculumConfig(
    kind="adaptive", start=1, budget=3, window=2, min_exhausted_rate=0.0, max_reward_drift=9.0
)


@pytest.mark.parametrize(("curriculum", "budgets"), [(STAGED, [1, 2, 2, 2]), (ADAPTIVE, [1, 1, 2, 2])])
def test_resumed_run_repeats_what_the_whole_run_does(
    tmp_path: Path, curriculum: CurriculumConfig, budgets: list[int]
) -> None:
    """Same problems, same samples, same budgets, same weights, and nothing recorded twice.

    A pass over the problems is three steps: the resumed run begins in the first and ends in the second.
    """
    cfg = replace(tiny.config(steps=4, checkpoint_every=2), curriculum=curriculum)
    whole = tiny.trainer(cfg, tmp_path / "a", problems=6)
    whole.train()

    class Killed(RuntimeError):
        pass

    class Kill(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 7:
                raise Killed

    killed = tiny.trainer(cfg, tmp_path / "b", callbacks=[Kill()], problems=6)
    with pytest.raises(Killed):
        killed.train()
    checkpoint = checkpoints.resolve(tmp_path / "b")
    assert checkpoint.name == "step-2"
    resumed = tiny.trainer(cfg, tmp_path / "b", attempt=1, problems=6)
    resumed.train(resume_from_checkpoint=str(checkpoint))

    def said(folder: Path) -> list[Any]:
        return [
            (r.step, r.problem_id, r.sample, r.budget, [s.text for s in r.segments])
            for r in read_records(folder / "trajectories.jsonl")
        ]

    assert said(tmp_path / "a") == said(tmp_path / "b")
    by_step = {row[0]: row[3] for row in said(tmp_path / "b")}
    assert [by_step[step] for step in range(4)] == budgets
    for ours, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_checkpoints_are_whole_or_refused(tmp_path: Path) -> None:
    tiny.trainer(tiny.config(steps=3, checkpoint_every=1), tmp_path).train()
    found = checkpoints.complete(tmp_path / "checkpoints")
    assert [path.name for path in found] == ["step-2", "step-3"]
    assert not (tmp_path / "checkpoints" / ".partial").exists()
    (found[1] / "optimizer.pt").unlink()
    with pytest.raises(CheckpointError, match=r"optimizer\.pt is missing or damaged"):
        checkpoints.resolve(found[1])
    assert checkpoints.resolve(tmp_path) == found[0], "the run goes on from the last that is whole"
    (found[1] / checkpoints.MARK).unlink()
    with pytest.raises(CheckpointError, match="incomplete"):
        checkpoints.resolve(found[1])
    (found[1] / checkpoints.MARK).write_text('{"step": 3, "fi')
    assert checkpoints.resolve(tmp_path) == found[0]
    assert json.loads((found[0] / checkpoints.MARK).read_text())["step"] == checkpoints.step_of(found[0]) == 2
