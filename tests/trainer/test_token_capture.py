"""The token columns of a step are what TRL's loss was given in it and made of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from transformers import TrainerCallback

from src.config import Config, LoRAConfig, ModelConfig
from src.policy.adapters import add_adapter
from src.rollout.engines import Generation
from src.run.records import read_records
from src.run.token_columns import CLIPS, SCHEMA, read_tokens, token_files
from src.sandbox import ExecutionResult, Status
from src.trainer import CIRTrainer
from src.trainer.token_capture import ROW, clip_codes, is_written
from tests import tiny
from tests.fakes import BPE, FakeSandbox
from tests.trainer.test_dynamic_sampling import PROBLEMS, record


class Watched(CIRTrainer):
    """Keeps what each micro-batch hands to TRL's loss, and what the policy thinks of it at that moment."""

    seen: list[dict[str, Any]]

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        # used with vLLM alone; a weight per token of one value per trajectory, as in two of its modes
        output["importance_sampling_ratio"] = torch.rand(len(output["completion_ids"]), 1)
        return output

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
        width = inputs["completion_ids"].shape[1]
        with torch.no_grad():
            logits = self.model(input_ids=ids, attention_mask=mask).logits[:, -width - 1 : -1].float()
        distribution = logits.log_softmax(-1)
        kept = {name: value.clone() if torch.is_tensor(value) else value for name, value in inputs.items()}
        kept["logprob"] = distribution.gather(-1, inputs["completion_ids"][..., None])[..., 0]
        kept["entropy"] = -(distribution.exp() * distribution).sum(-1)
        self.seen = [*getattr(self, "seen", []), kept | {"optimizer_step": self.state.global_step}]
        return super()._compute_loss(model, inputs)


class Telling(tiny.CodingEngine):
    """Gives logprobs."""

    def poll(self, until: float | None = None) -> list[Generation]:
        return [
            Generation(g.id, g.token_ids, [-(i + 1) / 8 for i in range(len(g.token_ids))], g.finish)
            for g in super().poll(until)
        ]


def config(**trainer: Any) -> Config:
    cfg = tiny.config(**trainer)
    cfg.records.tokens = True
    return cfg


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny, "CIRTrainer", Watched)


@pytest.fixture
def lora(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = tiny.model
    lora = ModelConfig(lora=LoRAConfig(rank=4))
    monkeypatch.setattr(tiny, "model", lambda seed=0: add_adapter(plain(seed), lora))


def check(trainer: Any, folder: Path) -> None:
    """Compare every row of every step with its row in the micro-batches, exactly."""
    cfg = trainer._cfg
    batches = len(trainer.seen) // cfg.trainer.steps
    assert list(token_files(folder)) == list(range(cfg.trainer.steps))
    for step in range(cfg.trainer.steps):
        rows = read_tokens(folder, step).to_dicts()
        seen = trainer.seen[step * batches :][:batches]
        assert sorted((row["micro_batch"], row["place"]) for row in rows) == [
            (batch, place) for batch in range(batches) for place in range(cfg.trainer.micro_batch_size)
        ]
        for row in rows:
            compare(row, seen[row["micro_batch"]], row["place"])
            assert row["policy_version"] == step * cfg.trainer.minibatches
            assert row["step"] == step


def compare(row: dict[str, Any], batch: dict[str, Any], place: int) -> None:
    real = batch["completion_mask"][place] > 0
    prompt = batch["prompt_ids"][place][batch["prompt_mask"][place] > 0].tolist()
    completion = batch["completion_ids"][place][real].tolist()
    assert row["token_ids"] == prompt + completion
    assert row["prompt_tokens"] == len(prompt)
    mask = batch["tool_mask"][place][real].bool().tolist()
    assert row["mask"] == [False] * len(prompt) + mask
    assert [reason == "trained" for reason in row["reason"]] == row["mask"]
    assert row["advantage"] == batch["advantages"][place].item()
    assert row["optimizer_step"] == batch["optimizer_step"]
    of_prompt = slice(None, len(prompt))
    for name in ("logprob", "entropy", "ratio", "engine_weight", "clipped"):
        assert row[name][of_prompt] == [None] * len(prompt), name
    for name in ("logprob", "entropy"):
        np.testing.assert_allclose(row[name][len(prompt) :], batch[name][place][real], rtol=1e-4, atol=1e-5)
    old = batch.get("old_per_token_logps")
    if old is None:
        assert row["old_logprob"] is None
        assert set(row["ratio"][len(prompt) :]) == {1.0}
    else:
        assert row["old_logprob"][len(prompt) :] == old[place][real].tolist()
        change = np.subtract(row["logprob"][len(prompt) :], row["old_logprob"][len(prompt) :])
        np.testing.assert_allclose(row["ratio"][len(prompt) :], np.exp(change), rtol=1e-5)
    weight = batch["importance_sampling_ratio"][place].item()
    assert row["engine_weight"][len(prompt) :] == [weight] * len(completion)
    sampled = batch.get("sampling_per_token_logps")
    if sampled is None:
        assert row["sampled_logprob"] is None
    else:
        expected = [
            value if sampled else None
            for value, sampled in zip(sampled[place][real].tolist(), mask, strict=True)
        ]
        assert row["sampled_logprob"] == [None] * len(prompt) + expected


class TestTruth:
    @pytest.mark.usefixtures("watched")
    @pytest.mark.parametrize(("minibatches", "engine"), [(1, tiny.CodingEngine), (2, Telling)])
    def test_a_file_is_what_the_loss_was_given_and_made_of_it(
        self, tmp_path: Path, minibatches: int, engine: type
    ) -> None:
        trainer = tiny.trainer(config(minibatches=minibatches), tmp_path, engine=engine)
        trainer.train()
        check(trainer, tmp_path)

    @pytest.mark.usefixtures("watched", "lora")
    def test_with_an_adapter_and_a_reference(self, tmp_path: Path) -> None:
        """The reference policy has logprobs of its own, which are not taken for those of the loss."""
        trainer = tiny.trainer(config(steps=1, kl_coef=0.1), tmp_path)
        trainer.train()
        assert "ref_per_token_logps" in trainer.seen[0]
        check(trainer, tmp_path)

    def test_rows_are_the_records_token_by_token(self, tmp_path: Path) -> None:
        tiny.trainer(config(), tmp_path, engine=Telling).train()
        records = read_records(tmp_path / "trajectories.jsonl")
        rows = [row for step in (0, 1) for row in read_tokens(tmp_path, step).to_dicts()]
        keys = ("phase", "step", "attempt", "mode", "problem_id", "sample")
        by_key = {tuple(row[key] for key in keys): row for row in rows}
        assert len(rows) == len(by_key) == len(records) == 16
        for one in records:
            row = by_key[tuple(getattr(one, key) for key in keys)]
            at = one.prompt_tokens
            assert BPE.text(row["token_ids"][:at]).count(one.problem) == 1
            assert set(row["author"][:at]) == set(row["reason"][:at]) == {"prompt"}
            for segment in one.segments:
                part = slice(at, at + segment.tokens)
                assert BPE.text(row["token_ids"][part]) == segment.text
                assert set(row["author"][part]) == {segment.author}
                assert set(row["reason"][part]) == {"feedback" if segment.author == "tool" else "trained"}
                at += segment.tokens
            assert at == len(row["token_ids"])
        assert any(segment.author == "tool" for one in records for segment in one.segments)
        for step in (0, 1):
            groups = read_tokens(tmp_path, step).select("group", "sample").rows()
            assert groups == [(group, sample) for group in (0, 1) for sample in range(4)]

    def test_means_are_the_metrics_of_trl(self, tmp_path: Path) -> None:
        """Clipping and entropy, each a mean over the tokens of an optimizer step."""
        metrics: list[dict[str, float]] = []
        cfg = config(clip_low=0.05, clip_high=0.01)
        tiny.trainer(cfg, tmp_path, report=lambda step, found, fired: metrics.append(found)).train()
        lists = ("mask", "clipped", "entropy")
        for step in (0, 1):
            tokens = read_tokens(tmp_path, step).explode(lists).filter("mask")
            low, high = (pl.col("clipped") == name for name in ("low", "high"))
            means = tokens.group_by("optimizer_step").agg(
                low.mean().alias("clip_ratio/low_mean"),
                high.mean().alias("clip_ratio/high_mean"),
                pl.col("entropy").mean(),
            )
            for name in means.columns[1:]:
                assert metrics[step][name] == pytest.approx(means[name].mean(), abs=1e-5), name
        for side in ("low", "high"):
            assert sum(found[f"clip_ratio/{side}_mean"] for found in metrics) > 0

    def test_it_changes_nothing_in_training(self, tmp_path: Path) -> None:
        weights = []
        for name, cfg in (("with", config(steps=1)), ("without", tiny.config(steps=1))):
            trainer = tiny.trainer(cfg, tmp_path / name)
            trainer.train()
            weights.append(trainer.model.state_dict())
        assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
        assert not (tmp_path / "without" / "tokens").exists()
        assert token_files(tmp_path / "without") == {}


class TestReasons:
    @staticmethod
    def reasons(folder: Path) -> Counter[tuple[str, str]]:
        return Counter(read_tokens(folder, 0).explode("author", "reason").select("author", "reason").rows())

    def test_a_trajectory_lost_to_the_infrastructure(self, tmp_path: Path) -> None:
        calls = Counter[str]()

        def reply(code: str) -> ExecutionResult:
            calls["all"] += 1
            if calls["all"] == 3:
                return ExecutionResult(Status.INFRASTRUCTURE, "", "worker died twice", 0.0)
            return ExecutionResult(Status.OK, "1", None, 0.0)

        cfg = config(steps=1, max_infrastructure_failure_rate=0.2)
        tiny.trainer(cfg, tmp_path, sandbox=FakeSandbox(reply)).train()
        lost = [r for r in read_records(tmp_path / "trajectories.jsonl") if r.rewards is None]
        (row,) = read_tokens(tmp_path, 0).filter(pl.col("reason").list.contains("infrastructure")).to_dicts()
        assert [(row["problem_id"], row["sample"])] == [(one.problem_id, one.sample) for one in lost]
        assert row["advantage"] == 0
        assert not any(row["mask"])
        assert dict(zip(row["author"], row["reason"], strict=True))["policy"] == "infrastructure"

    def test_an_excluded_stop_reason(self, tmp_path: Path) -> None:
        tiny.trainer(config(steps=1, exclude=["length"]), tmp_path).train()
        stopped = {
            (r.problem_id, r.sample): r.stop_reason for r in read_records(tmp_path / "trajectories.jsonl")
        }
        assert "length" in stopped.values()
        for row in read_tokens(tmp_path, 0).to_dicts():
            excluded = stopped[row["problem_id"], row["sample"]] == "length"
            of_policy = {r for a, r in zip(row["author"], row["reason"], strict=True) if a == "policy"}
            assert of_policy == {"excluded" if excluded else "trained"}

    def test_feedback_that_is_trained_on(self, tmp_path: Path) -> None:
        cfg = config(steps=1)
        cfg.rollout.mask = "none"
        tiny.trainer(cfg, tmp_path).train()
        found = self.reasons(tmp_path)
        assert found["tool", "trained"] > 0
        assert set(found) == {("prompt", "prompt"), ("policy", "trained"), ("tool", "trained")}

    def test_replaced_groups_are_there_without_a_loss(self, tmp_path: Path) -> None:
        class Hard:
            """The first group of a step is all wrong."""

            asked = 0

            def submit(self, gold: str, answer: str | None) -> Any:
                Hard.asked += 1
                plain = tiny.FakeGrader()
                plain._asked = 1 if Hard.asked <= 4 else Hard.asked
                return plain.submit(gold, answer)

        tiny.trainer(config(steps=1, dynamic_sampling=2), tmp_path, grader=Hard()).train()
        frame = read_tokens(tmp_path, 0)
        replaced = frame.filter(pl.col("group").is_null())
        records = read_records(tmp_path / "trajectories.jsonl")
        assert (len(frame), len(replaced)) == (len(records), len(records) - 8)
        assert len(replaced) >= 4
        groups = Counter((one.group, one.problem_id) for one in records)
        assert set(groups.values()) == {4}
        assert sorted(number for number, _ in groups) == list(range(len(groups)))
        kept = {(one.group, one.problem_id, one.sample) for one in records}
        trained = frame.filter(pl.col("group").is_not_null()).select("group", "problem_id", "sample")
        assert set(trained.rows()) <= kept
        assert frame.select("problem_id", "sample").n_unique() == len(frame)
        assert (
            replaced.select("optimizer_step", "advantage", "logprob").null_count().row(0)
            == (len(replaced),) * 3
        )
        authors = replaced.explode("author", "reason", "mask").select("author", "reason", "mask").unique()
        expected = {("prompt", "prompt"), ("policy", "replaced"), ("tool", "feedback")}
        assert set(authors.rows()) == {(*one, False) for one in expected}


class TestShare:
    def test_a_share_is_a_part_of_all(self, tmp_path: Path) -> None:
        cfg = config(steps=1, batch_size=16)
        tiny.trainer(cfg, tmp_path / "all").train()
        cfg.records.token_share = 0.4
        tiny.trainer(cfg, tmp_path / "some").train()
        whole, some = (read_tokens(tmp_path / name, 0) for name in ("all", "some"))
        assert 0 < len(some) < len(whole) == 16
        kept = whole.join(some.select("problem_id", "sample"), on=["problem_id", "sample"], how="semi")
        assert kept.equals(some)

    def test_it_may_be_none_in_a_step(self, tmp_path: Path) -> None:
        cfg = config(steps=1)
        cfg.records.token_share = 1e-9
        tiny.trainer(cfg, tmp_path).train()
        frame = read_tokens(tmp_path, 0)
        assert frame.shape == (0, len(SCHEMA))

    def test_it_is_near_what_was_asked_for_and_grows_with_it(self) -> None:
        records = [record(one, sample, 0.0) for one in PROBLEMS for sample in range(500)]
        kept = {share: {i for i, one in enumerate(records) if is_written(one, share)} for share in (0.1, 0.3)}
        assert kept[0.1] < kept[0.3]
        for share, some in kept.items():
            assert len(some) / len(records) == pytest.approx(share, abs=0.03)


def test_a_clipped_token_has_no_gradient() -> None:
    """Of TRL's objective, written out; the ratio is what is varied."""
    cfg = tiny.config()
    ratios, signs = torch.linspace(0.5, 4.0, 71), torch.tensor([-1.5, 0.0, 0.7])
    ratio, advantage = (grid.flatten() for grid in torch.meshgrid(ratios, signs, indexing="ij"))
    for dual in (None, 3.0, 1.1):
        cfg.trainer.dual_clip = dual
        variable = ratio.clone().requires_grad_()
        bounded = variable if dual is None else variable.clamp(max=dual)
        clamped = variable.clamp(1 - cfg.trainer.clip_low, 1 + cfg.trainer.clip_high)
        torch.min(bounded * advantage, clamped * advantage).sum().backward()
        codes = clip_codes(ratio.numpy(), advantage.numpy(), cfg)
        constant = (variable.grad == 0).numpy() & (advantage != 0).numpy()
        np.testing.assert_array_equal(codes != 0, constant)
        assert {CLIPS[code] for code in codes} >= {"no", "low"} | ({"dual"} if dual else {"high"})


def test_a_resumed_run_writes_what_the_whole_run_does(tmp_path: Path) -> None:
    class Killed(RuntimeError):
        pass

    class Kill(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 5:
                raise Killed

    cfg = config(steps=3, checkpoint_every=1)
    tiny.trainer(cfg, tmp_path / "a", engine=Telling).train()
    with pytest.raises(Killed):
        tiny.trainer(cfg, tmp_path / "b", engine=Telling, callbacks=[Kill()]).train()
    assert list(token_files(tmp_path / "b")) == [0, 1], "none of the step that was not finished"
    resumed = tiny.trainer(cfg, tmp_path / "b", engine=Telling, attempt=1)
    resumed.train(resume_from_checkpoint=str(tmp_path / "b" / "checkpoints" / "step-1"))
    assert list(token_files(tmp_path / "b")) == [0, 1, 2]
    for step in range(3):
        whole, again = (read_tokens(tmp_path / name, step) for name in ("a", "b"))
        assert set(again["attempt"]) == {int(step >= 1)}
        assert whole.drop("attempt").equals(again.drop("attempt"))


def test_other_tokens_than_the_trajectories_have_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mixed(CIRTrainer):
        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            output = super()._generate_and_score_completions(inputs)
            output[ROW] = output[ROW].flip(0)
            return output

    monkeypatch.setattr(tiny, "CIRTrainer", Mixed)
    with pytest.raises(ValueError, match="other tokens than those of the trajectories"):
        tiny.trainer(config(steps=1), tmp_path).train()
