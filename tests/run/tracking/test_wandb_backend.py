"""Weights & Biases without a network: a run that should be online goes on offline, and says so."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from src.config import Config, TrackingConfig
from src.config.paths import ROOT
from src.run.tracking.tracker import Tracker
from tests.experiment.test_training import SMALL
from tests.wandb_file import history

# one training step, and one evaluation of two problems
TINY = [*SMALL, "trainer.steps=1", "data.heldout_size=2", "evaluate.phases=[after]", "evaluate.modes=[text]"]


@pytest.fixture
def unreachable() -> dict[str, str]:
    """The environment of a process whose W&B is a port at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    return {**os.environ, "WANDB_BASE_URL": f"http://127.0.0.1:{port}", "WANDB_API_KEY": "0" * 40}


def said(output: str) -> Path:
    """Return where the output says that the offline run lies; it says so once, and nothing else of W&B."""
    (line,) = [one for one in output.splitlines() if "W&B" in one]
    match = re.search(
        r"W&B cannot be reached \((.+)\); this run is logged offline, upload it with: wandb sync (\S+)", line
    )
    assert match, line
    assert "Traceback" not in output
    return Path(match[2])


@pytest.mark.long
def test_a_training_that_cannot_be_online_goes_on_offline(
    unreachable: dict[str, str], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "src.train", *TINY, f"hydra.run.dir={tmp_path}", "tracking=wandb_online",
               "tracking.init_timeout=3"]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, env=unreachable, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    place = said(done.stdout)
    assert place.parent == tmp_path / "wandb"
    assert [one.name for one in place.parent.glob("*run-*")] == [place.name], "the failed attempt is gone"
    rows = history(place)
    assert any("train/reward" in row for row in rows)
    assert any("train/samples/path" in row for row in rows)
    assert (tmp_path / "summary.json").is_file()


def test_without_a_key_it_is_offline(unreachable: dict[str, str], tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from src.run.tracking.wandb_backend import start_run;"
        f"run = start_run('online', Path({str(tmp_path)!r}), 60, project='p');"
        "run.log({'a': 1}); run.finish()"
    )
    without = {key: value for key, value in unreachable.items() if key != "WANDB_API_KEY"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=without | {"HOME": str(tmp_path)}, text=True, timeout=120,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "No API key configured" in done.stdout
    assert history(said(done.stdout)) == [{"a": 1}]


def test_a_report_that_cannot_be_online_is_offline_and_has_no_workspace(
    unreachable: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "one.json").write_text('{"settings": {}, "results": {}}')
    (tmp_path / "one" / "t.csv").write_text("a,b\n1,2\n")
    code = (
        "from analysis import report; from pathlib import Path;"
        f"folder = Path({str(tmp_path)!r}); cfg = report.DetailsConfig(init_timeout=3);"
        "report.log_to_wandb([report.read(folder / 'one')], cfg, folder)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=unreachable, text=True,
        timeout=120, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    (row,) = history(said(done.stdout))
    assert {key for key in row if key.endswith("/_type")} == {f"{tmp_path.name}/one/table/t/_type"}


def test_only_the_first_process_talks(unreachable: dict[str, str], tmp_path: Path) -> None:
    cfg = Config(tracking=TrackingConfig(mode="online", init_timeout=60))
    tracker = Tracker(cfg, tmp_path, write=False)
    tracker.step(0, {"a": 1.0})
    tracker.finish({"a": 1.0})
    assert tracker.identity == {}
    assert list(tmp_path.iterdir()) == []
