"""What another objective would have done with the same trajectories."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from src.config import Config
from src.launch.checks import replay as checks
from src.replay import folder
from src.replay.comparison import mean_losses, whole
from src.replay.replay import Result
from src.run.token_columns import read_tokens
from src.trainer.advantages import reinforce_plus_plus_baseline
from tests.recorded_run import again

FLIPPED = 3  # the trajectory whose advantage the planted estimator turns round


def flipped(centred: torch.Tensor, tokens: torch.Tensor, members: torch.Tensor, reduce: Any) -> torch.Tensor:
    found = reinforce_plus_plus_baseline(centred, tokens, members, reduce)
    found[FLIPPED] *= -1
    return found


def signs(result: Result, run: Path, step: int) -> tuple[list[dict[str, Any]], dict[str, int]]:
    assert result.comparison is not None
    rows = read_tokens(run, step).drop_nulls("group").to_dicts()
    return folder.sign_rows(result.comparison, rows, result.tokenizer)


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
        other = replace(cfg, trainer=replace(cfg.trainer, advantage="tests.replay.test_objectives.flipped"))
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
        found = folder.write(tmp_path, cfg, run, 1, result, changed)
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
