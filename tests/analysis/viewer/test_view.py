"""The command that writes the page, and what is wrong with its settings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from analysis import view
from analysis.data import AnalysisError
from src.config.paths import ROOT
from src.run.records import read_records
from tests.analysis.viewer import run_files as made
from tests.analysis.viewer.reading import Embedded, unpack

OLD_RUN = ROOT / "tests" / "old_run"


class TestCommand:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({}, r"run, runs: give one of them, run=FOLDER or 'runs="),
            ({"run": "x", "runs": {"a": "y"}}, r"run, runs: give one of them, .*, not run=x and 1 runs"),
            ({"run": "nowhere"}, r"run=nowhere: this folder does not exist; give the folder of a run"),
            ({"runs": {"a": "nowhere"}}, r"runs\.a=nowhere: this folder does not exist"),
            ({"run": "empty"}, r"run=empty: contains no trajectories\.jsonl; give the folder of a run or"),
            ({"run": "good", "tokenizer": "no"}, r"tokenizer=no: this folder does not exist; give one with"),
            ({"runs": {"a": "good"}}, r"out=null: with runs, the file must be named; give out=FILE\.html"),
            (
                {"run": "good", "out": "no/view.html"},
                r"out=no/view\.html: give a file in a folder that exists",
            ),
            ({"run": "good", "out": "good"}, r"out=good: give a file in a folder that exists"),
        ],
    )
    def test_what_is_wrong_is_named_with_a_remedy(
        self, settings: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "empty").mkdir()
        (tmp_path / "good").mkdir()
        (tmp_path / "good" / "trajectories.jsonl").touch()
        cfg = view.ViewConfig(**settings)
        with pytest.raises(AnalysisError, match=message):
            view.output(cfg, view.folders(cfg))

    def test_the_page_of_a_run_from_python(self, tmp_path: Path) -> None:
        written = made.write(tmp_path, steps=1)
        view.write_page(tmp_path, tmp_path / "view.html")
        inside = Embedded((tmp_path / "view.html").read_text())
        index = unpack(inside.data["run-0-index"])
        assert (index["name"], index["starts"][-1], index["note"]) == (tmp_path.name, len(written), "")
        assert unpack(inside.data["run-0-tokens-0"])["texts"]

    def test_damaged_records_are_named(self, tmp_path: Path) -> None:
        (tmp_path / "trajectories.jsonl").write_text("{}\n")
        with pytest.raises(AnalysisError, match=r"trajectories\.jsonl:1: not a trajectory record"):
            view.load("a", tmp_path, None)

    def test_the_command_writes_one_file(self, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "analysis.view", f"run={OLD_RUN}", f"out={tmp_path / 'v.html'}"]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert ended.returncode == 0, ended.stderr
        records = len(read_records(OLD_RUN / "trajectories.jsonl"))
        assert f"written to {tmp_path / 'v.html'}: {records:,} trajectories" in ended.stdout
        assert [path.name for path in tmp_path.iterdir()] == ["v.html"]
