"""The debugging run, replayed as a user does it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from src.config.paths import ROOT


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
