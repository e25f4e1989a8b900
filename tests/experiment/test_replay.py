"""A step again: to the last bit, whatever it depends on; and what another objective would have done."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from src.config import Config, LoRAConfig, ModelConfig, ReplayConfig
from src.config.paths import ROOT
from src.config.schema import ConfigError
from src.experiment import replayed_folder
from src.experiment.replaying import Replay, ReplayError, Result
from src.launch.checks import replay as checks
from src.policy.adapters import add_adapter
from src.rollout.engines import Generation
from src.run.disk import write_json
from src.run.records import RecordError
from src.run.token_columns import SCHEMA, read_tokens, token_files
from src.trainer.advantages import reinforce_plus_plus_baseline
from src.trainer.comparison import mean_losses, whole
from tests import tiny
from tests.fakes import BPE

FLIPPED = 3  # the trajectory whose advantage the planted estimator turns round


def flipped(centred: torch.Tensor, tokens: torch.Tensor, members: torch.Tensor, reduce: Any) -> torch.Tensor:
    found = reinforce_plus_plus_baseline(centred, tokens, members, reduce)
    found[FLIPPED] *= -1
    return found


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


@pytest.fixture
def lora(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    plain = tiny.model

    def use(dropout: float) -> None:
        settings = ModelConfig(lora=LoRAConfig(rank=4, dropout=dropout))
        monkeypatch.setattr(tiny, "model", lambda seed=0: add_adapter(plain(seed), settings))

    return use


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path]:
    """Three steps of two optimizer steps each, with a checkpoint after every step; not to be changed."""
    cfg, run = config(), tmp_path_factory.mktemp("whole")
    train(cfg, run)
    return cfg, run


class TestBits:
    def test_every_step_from_its_checkpoint(self, whole_run: tuple[Config, Path]) -> None:
        cfg, run = whole_run
        for step in range(3):
            result = again(cfg, run, step)
            (repeated,) = result.steps
            assert repeated.equal
            assert {"loss", "grad_norm", "learning_rate", "entropy"} <= repeated.metrics.keys()
            assert result.checkpoints == {step + 1: 0.0}

    def test_without_a_checkpoint_from_the_initial_policy(self, tmp_path: Path) -> None:
        """The steps on the way are repeated, too; ``verify`` goes on to the checkpoint."""
        cfg = config(checkpoint_every=3)
        train(cfg, tmp_path)
        short = again(cfg, tmp_path, 1)
        assert (short.start, [one.step for one in short.steps]) == (None, [0, 1])
        assert short.checkpoints == {}
        result = again(cfg, tmp_path, 1, verify=True)
        assert [one.step for one in result.steps] == [0, 1, 2]
        assert result.checkpoints == {3: 0.0}
        assert short.weights.items() <= result.weights.items()
        assert len(set(result.weights.values())) == 3

    @pytest.mark.parametrize(
        "trainer",
        [
            {"minibatches": 1, "loss_type": "grpo", "advantage": "grpo"},
            {"lr_schedule": "linear", "warmup_steps": 2, "weight_decay": 0.1, "max_grad_norm": 0.01},
            pytest.param(
                {"exclude": ["length"], "whiten_over": "response", "entropy_coef": 0.1},
                marks=pytest.mark.long,
            ),
            pytest.param({"dynamic_sampling": 2}, marks=pytest.mark.long),
        ],
        ids=lambda trainer: "-".join(trainer),
    )
    def test_settings(self, tmp_path: Path, trainer: dict[str, Any]) -> None:
        cfg = config(**{"steps": 2} | trainer)
        train(cfg, tmp_path)
        assert again(cfg, tmp_path, 1).checkpoints == {2: 0.0}

    @pytest.mark.parametrize(("dropout", "kl"), [(0.2, 0.1), pytest.param(0.0, 0.0, marks=pytest.mark.long)])
    def test_an_adapter_with_dropout_and_a_reference(
        self, tmp_path: Path, lora: Callable[[float], None], dropout: float, kl: float
    ) -> None:
        lora(dropout)
        cfg = config(steps=2, kl_coef=kl)
        train(cfg, tmp_path)
        result = again(cfg, tmp_path, 1)
        assert result.checkpoints == {2: 0.0}
        assert ("kl" in result.steps[0].metrics) == (kl > 0)

    @pytest.mark.parametrize(
        "mode", ["token_truncate", pytest.param("sequence_mask", marks=pytest.mark.long)]
    )
    def test_weights_of_the_engine(self, tmp_path: Path, mode: str) -> None:
        cfg = config(steps=2, importance_sampling=mode, minibatches=1)
        train(cfg, tmp_path, corrected=True)
        weights = read_tokens(tmp_path, 1)["engine_weight"].explode().drop_nulls()
        assert weights.n_unique() > (10 if mode == "token_truncate" else 1)
        result = again(cfg, tmp_path, 1)
        assert result.checkpoints == {2: 0.0}
        off = replace(cfg, trainer=replace(cfg.trainer, importance_sampling="none"))
        compared = again(cfg, tmp_path, 1, off).comparison
        assert compared is not None
        assert (whole(compared.steps[0].gradient).cosine or 0) < 0.999

    def test_after_a_kill_and_a_resume(self, tmp_path: Path) -> None:
        """Step 1 was done twice; what counts is what the last attempt sampled in it."""
        cfg = config(checkpoint_every=1, steps=2)
        train(cfg, tmp_path)
        first = read_tokens(tmp_path, 1)
        (tmp_path / "checkpoints" / "step-2" / "complete.json").unlink()  # killed while it was written
        cfg = config(checkpoint_every=1, steps=3)
        torch.manual_seed(5)
        rng = tmp_path / "checkpoints" / "step-1" / "rng_state.pth"
        complete = json.loads((rng.parent / "complete.json").read_text())
        del complete["files"][rng.name]  # else the second attempt would sample the same
        rng.unlink()
        (rng.parent / "complete.json").write_text(json.dumps(complete))
        train(cfg, tmp_path, attempt=1, resume=rng.parent)
        assert [int(path.stem[-1]) for path in token_files(tmp_path).values()] == [0, 1, 1]
        assert not first["token_ids"].equals(read_tokens(tmp_path, 1)["token_ids"])
        for step in range(3):
            assert again(cfg, tmp_path, step).checkpoints == {step + 1: 0.0}
        for path in (tmp_path / "checkpoints").iterdir():
            (path / "complete.json").unlink(missing_ok=True)
        assert [one.step for one in again(cfg, tmp_path, 2).steps] == [0, 1, 2]


class TestDeviations:
    def test_another_reward_is_noticed(self, whole_run: tuple[Config, Path], tmp_path: Path) -> None:
        cfg, run = whole_run
        copy = copied(run, tmp_path)
        lines = [json.loads(line) for line in (copy / "trajectories.jsonl").read_text().splitlines()]
        row = next(line for line in lines if line["step"] == 1)
        row["rewards"]["total"] *= -1
        (copy / "trajectories.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        with pytest.raises(ReplayError, match=r"step 1 is not .* another advantage.*tolerance="):
            again(cfg, copy, 1)
        assert not again(cfg, copy, 1, tolerance=10.0).steps[0].equal

    def test_weights_are_compared_with_the_checkpoint(
        self, whole_run: tuple[Config, Path], tmp_path: Path
    ) -> None:
        cfg, run = whole_run
        file = copied(run, tmp_path) / "checkpoints" / "step-2" / "model.safetensors"
        written = bytearray(file.read_bytes())
        written[-5] ^= 1  # a low bit of a weight
        file.write_bytes(written)
        with pytest.raises(ReplayError, match=r"weights deviate by up to .* from checkpoint 2"):
            again(cfg, tmp_path, 1)

    def test_segments_of_another_run_are_refused(
        self, whole_run: tuple[Config, Path], tmp_path: Path
    ) -> None:
        cfg, run = whole_run
        copy = copied(run, tmp_path)
        lines = [json.loads(line) for line in (copy / "trajectories.jsonl").read_text().splitlines()]
        lines[-1]["segments"][0]["tokens"] += 1
        (copy / "trajectories.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        with pytest.raises(RecordError, match="segments of trajectory"):
            again(cfg, copy, 2)


class TestObjectives:
    def test_the_same_settings_make_the_same_update(self, whole_run: tuple[Config, Path]) -> None:
        cfg, run = whole_run
        result = again(cfg, run, 1, cfg)
        compared = result.comparison
        assert compared is not None
        assert len(compared.steps) == cfg.trainer.minibatches
        for one in compared.steps:
            for products in (*one.gradient.values(), *one.update.values()):
                assert products.cosine == pytest.approx(1, abs=1e-12)
                assert products.ab == products.aa == products.bb > 0
        loss, other = mean_losses(compared.steps)
        assert loss == other == pytest.approx(result.steps[0].metrics["loss"][0], abs=1e-7)
        rows, counts = signs(result, run, 1)
        assert rows == []
        tokens = read_tokens(run, 1).explode("mask", "clipped").filter("mask")
        assert counts["same"] == (tokens["clipped"] == "no").sum() > 100

    def test_a_flipped_advantage_turns_just_its_tokens_round(self, whole_run: tuple[Config, Path]) -> None:
        cfg, run = whole_run
        other = replace(cfg, trainer=replace(cfg.trainer, advantage="tests.experiment.test_replay.flipped"))
        result = again(cfg, run, 1, other)
        found, counts = signs(result, run, 1)
        row = read_tokens(run, 1).row(FLIPPED, named=True)
        assert row["advantage"] != 0
        trained = [position for position, counted in enumerate(row["mask"]) if counted]
        assert [one["position"] for one in found] == trained
        assert {(one["problem_id"], one["sample"]) for one in found} == {(row["problem_id"], row["sample"])}
        assert {one["kind"] for one in found} == {"opposite"}
        assert counts["opposite"] == len(trained)
        assert [one["token_id"] for one in found] == [row["token_ids"][position] for position in trained]
        for one in found:
            assert one["weight"] == pytest.approx(-one["weight_other"])
            assert (one["weight"] > 0) == (row["advantage"] > 0)

    def test_another_loss_has_another_gradient_and_the_run_takes_its_own_step(
        self, whole_run: tuple[Config, Path]
    ) -> None:
        cfg, run = whole_run
        other, changed = checks.other_settings(
            cfg, ["trainer.loss_type=grpo", "trainer.advantage=rloo", "trainer.exclude=[length]"]
        )
        assert changed["trainer.loss_type"] == ("dapo", "grpo")
        result = again(cfg, run, 1, other)
        assert result.checkpoints == {2: 0.0}
        compared = result.comparison
        assert compared is not None
        for one in compared.steps:
            assert list(one.gradient) == ["embedding", "layer 0", "layer 1", "other"]
            assert abs(whole(one.gradient).cosine or 0) < 0.9999
        assert mean_losses(compared.steps)[0] != mean_losses(compared.steps)[1]

    def test_settings_of_the_optimizer_change_the_update_alone(self, whole_run: tuple[Config, Path]) -> None:
        cfg, run = whole_run
        other, _ = checks.other_settings(cfg, ["trainer.learning_rate=0.02"])
        compared = again(cfg, run, 1, other).comparison
        assert compared is not None
        for one in compared.steps:
            gradient, update = whole(one.gradient), whole(one.update)
            assert gradient.ab == gradient.aa == gradient.bb
            assert update.norms[1] == pytest.approx(2 * update.norms[0], rel=1e-3)

    def test_what_is_written(self, whole_run: tuple[Config, Path], tmp_path: Path) -> None:
        cfg, run = whole_run
        other, changed = checks.other_settings(cfg, ["trainer.advantage=rloo"])
        result = again(cfg, run, 1, other)
        found = replayed_folder.write(tmp_path, cfg, run, 1, result, changed)
        assert found == json.loads((tmp_path / "replay.json").read_text())
        (step,) = found["steps"]
        assert step["equal"]
        assert step["weights"] == result.weights[1]
        objective = found["objective"]
        assert objective["changed"] == {"trainer.advantage": ["reinforce_plus_plus_baseline", "rloo"]}
        assert [row["layer"] for row in objective["layers"]] == 2 * [
            "all",
            "embedding",
            "layer 0",
            "layer 1",
            "other",
        ]
        rows = list(csv.DictReader((tmp_path / "signs.csv").open()))
        assert len(rows) == sum(
            objective["signs"][kind] for kind in ("opposite", "only the run", "only the other")
        )
        assert sum(objective["signs"].values()) == sum(
            len(ids) - prompt for ids, prompt in read_tokens(run, 1)["token_ids", "prompt_tokens"].rows()
        )


class TestRefusals:
    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            (["trainer.steps=5"], "trainer.steps=5: in the update of a recorded step it cannot be changed"),
            (["trainer.minibatches=1"], "trainer.minibatches=1: .* choose from advantage"),
            (["trainer=cir"], "trainer=cir: .* give single values"),
            (["~trainer.loss_type"], "~trainer.loss_type: .* give a value instead"),
            (["trainer.clip_high=5"], "trainer.dual_clip=3"),
            (["trainer.loss_type=ppo"], "trainer.loss_type=ppo: choose"),
        ],
    )
    def test_of_settings(self, overrides: Sequence[str], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            checks.other_settings(config(), overrides)

    def test_of_runs(self, whole_run: tuple[Config, Path], tmp_path: Path) -> None:
        cfg, run = whole_run

        def fault(**records: Any) -> str:
            changed = asdict(cfg) | {"records": asdict(cfg.records) | records}
            write_json(tmp_path / "config.json", changed)
            return "".join(checks.faults(ReplayConfig(run=str(tmp_path), step=0), ""))

        assert "has no trajectories.jsonl" in "".join(
            checks.faults(ReplayConfig(run=str(tmp_path), step=0), "")
        )
        for name in ("trajectories.jsonl", "metrics.jsonl"):
            (tmp_path / name).write_bytes((run / name).read_bytes())
        assert fault() == ""
        assert "records.tokens=false" in fault(tokens=False)
        assert "records.token_share=0.5" in fault(token_share=0.5)
        given = ReplayConfig(run=str(tmp_path), step=0, rewards="nowhere")
        assert "rewards=nowhere: has no trajectories.jsonl" in "".join(checks.faults(given, ""))

    def test_of_steps(self, whole_run: tuple[Config, Path], tmp_path: Path) -> None:
        cfg, run = whole_run
        with pytest.raises(ConfigError, match=r"step=9: step 9 .* those from 0 to 2 are there"):
            again(cfg, run, 9)
        with pytest.raises(ConfigError, match=r"verify=true: .* no checkpoint after step 3"):
            again(cfg, run, 3, verify=True)
        copy = copied(run, tmp_path)
        path = token_files(copy)[1]
        pq.write_table(pq.read_table(path).replace_schema_metadata(SCHEMA.metadata), path)
        with pytest.raises(ConfigError, match=r"step=1: .* are older than their random generators"):
            again(cfg, copy, 1)

    def test_of_logprobs_that_the_engine_did_not_give(self, whole_run: tuple[Config, Path]) -> None:
        cfg, run = whole_run
        other, _ = checks.other_settings(cfg, ["trainer.importance_sampling=token_mask"])
        with pytest.raises(ConfigError, match=r"trainer.importance_sampling=token_mask: .* gave no logprobs"):
            again(cfg, run, 1, other)

    def test_of_several_processes(self, whole_run: tuple[Config, Path], tmp_path: Path) -> None:
        cfg, run = whole_run
        copy = copied(run, tmp_path)
        path = token_files(copy)[1]
        table = pq.read_table(path)
        at = table.schema.get_field_index("process")
        ranks = pa.array([row % 2 for row in range(len(table))], pa.int32())
        pq.write_table(table.set_column(at, table.schema.field(at), ranks), path)
        with pytest.raises(RecordError, match="several processes"):
            again(cfg, copy, 1)


def call(module: str, *overrides: str) -> str:
    """Run a program; return what it printed."""
    command = [sys.executable, "-m", module, *overrides]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def debug_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("mini_debug")
    call(
        *("src.train", "+experiment=mini_debug", "trainer.steps=3", "trainer.keep_checkpoints=9"),
        *("tracking=none", "evaluate.phases=[after]", "evaluate.modes=[free]", "data.heldout_size=6"),
        f"hydra.run.dir={run}",
    )
    return run


@pytest.mark.long
class TestCommand:
    """The debugging run, replayed as a user does it."""

    @pytest.mark.parametrize("step", range(3))
    def test_every_step(self, debug_run: Path, tmp_path: Path, step: int) -> None:
        printed = call("src.replay", f"run={debug_run}", f"step={step}", f"hydra.run.dir={tmp_path}")
        assert f"the weights are equal to the last bit after {step + 1} steps" in printed
        assert json.loads((tmp_path / "replay.json").read_text())["steps"][0]["equal"]

    def test_another_objective(self, debug_run: Path, tmp_path: Path) -> None:
        printed = call(
            *("src.replay", f"run={debug_run}", "step=1", "trainer.loss_type=grpo", "trainer.clip_high=0.2"),
            *("trainer.advantage=rloo", f"hydra.run.dir={tmp_path}"),
        )
        assert "trainer.loss_type=grpo; it was dapo" in printed
        assert "cosine of gradients" in printed
        for ending in ("png", "svg", "csv", "json"):
            assert (tmp_path / f"objectives.{ending}").stat().st_size > 100

    def test_rewards_that_were_graded_again(self, debug_run: Path, tmp_path: Path) -> None:
        graded = tmp_path / "graded"
        call("src.regrade", f"run={debug_run}", "reward.wrong=-0.5", f"hydra.run.dir={graded}")
        out = tmp_path / "out"
        call("src.replay", f"run={debug_run}", "step=1", f"rewards={graded}", f"hydra.run.dir={out}")
        objective = json.loads((out / "replay.json").read_text())["objective"]
        assert list(objective["changed"]) == ["rewards"]


def copied(run: Path, to: Path) -> Path:
    names = ("trajectories.jsonl", "metrics.jsonl", "config.json")
    for name in names:
        shutil.copy(run / name, to / name)
    for name in ("tokens", "checkpoints"):
        shutil.copytree(run / name, to / name)
    return to


def signs(result: Result, run: Path, step: int) -> tuple[list[dict[str, Any]], dict[str, int]]:
    assert result.comparison is not None
    rows = read_tokens(run, step).drop_nulls("group").to_dicts()
    return replayed_folder.sign_rows(result.comparison, rows, result.tokenizer)
