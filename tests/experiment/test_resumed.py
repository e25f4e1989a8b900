"""What a resumed run takes over, also from a folder whose files are damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from src.config.schema import ConfigError
from src.experiment.resumed import take_over
from src.run import checkpoints
from src.run.processes import Ranks
from src.run.records import CONFIG
from src.run.token_columns import SCHEMA, TokenWriter, read_tokens, token_files
from tests import tiny


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for step in (1, 2):
        folder = tmp_path / "checkpoints" / f"step-{step}"
        folder.mkdir(parents=True)
        (folder / "optimizer.pt").write_text("state")
        mark = {"step": step, "files": {"optimizer.pt": 5}}
        (folder / checkpoints.MARK).write_text(json.dumps(mark))
    (tmp_path / "state.json").write_text('{"before": {}}')
    return tmp_path


def test_a_run_goes_on_from_the_last_whole_checkpoint(run: Path) -> None:
    cfg = tiny.config(steps=3)
    cfg.trainer.resume = str(run)
    (run / "checkpoints" / "step-2" / "optimizer.pt").write_text("sta")
    assert take_over(cfg, run, Ranks()) == (run / "checkpoints" / "step-1").resolve()


def test_a_run_without_a_whole_checkpoint_starts_again_in_its_folder(run: Path) -> None:
    for step in (1, 2):
        (run / "checkpoints" / f"step-{step}" / "optimizer.pt").unlink()
    assert take_over(tiny.config(steps=3), run, Ranks()) is None


def test_damaged_settings_are_overridden_by_force(run: Path) -> None:
    cfg = tiny.config(steps=3)
    cfg.trainer.resume = str(run)
    (run / CONFIG).write_text('{"trainer": {"st')
    with pytest.raises(ConfigError, match=r"with trainer\.resume=.* trainer\.resume_force=true"):
        take_over(cfg, run, Ranks())
    cfg.trainer.resume_force = True
    assert take_over(cfg, run, Ranks()) == (run / "checkpoints" / "step-2").resolve()


def test_a_damaged_state_is_said_to_be_damaged(run: Path) -> None:
    cfg = tiny.config(steps=3)
    cfg.trainer.resume = str(run)
    (run / "state.json").write_text("")
    with pytest.raises(ConfigError, match=r"state\.json is damaged"):
        take_over(cfg, run, Ranks())


def test_token_columns_go_to_another_folder_with_the_records(run: Path, tmp_path: Path) -> None:
    cfg = tiny.config(steps=3)
    cfg.trainer.resume = str(run)
    cfg.trainer.resume_force = True
    for name in ("trajectories.jsonl", "metrics.jsonl"):
        (run / name).touch()
    TokenWriter(run, Ranks()).write(SCHEMA.empty_table(), 1, 0)
    target = tmp_path / "target"
    take_over(cfg, target, Ranks())
    assert token_files(target) == {1: target / "tokens" / "step-000001-attempt-0.parquet"}
    assert read_tokens(target, 1).equals(read_tokens(run, 1))
