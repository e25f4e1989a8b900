"""The whole reproduction as a user runs it, on its smallest scale: killed once, and started again."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from src.config.paths import ROOT
from src.run.records import read_metrics
from tests.experiments.job import starts
from tests.experiments.test_plan import TEN
from tests.experiments.test_run import working_in


def begin(folder: Path) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "experiments.reproduce",
        "suite=debug",
        "suite.seeds=[0]",
        f"folder={folder}",
    ]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def summaries(folder: Path) -> set[str]:
    """What has finished."""
    return {str(path.parent.relative_to(folder)) for path in folder.glob("*/*/summary.json")}


@pytest.mark.long
def test_killed_and_started_again_it_ends_in_a_report_of_ten_and_runs_nothing_twice(tmp_path: Path) -> None:
    wanted, later = random.randint(0, 14), random.uniform(0, 8)
    print(f"killed {later:.1f} s after {wanted} of 22 trainings and evaluations")
    process = begin(tmp_path)
    deadline = time.monotonic() + 1800
    while len(summaries(tmp_path)) < wanted:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(later)
    assert process.poll() is None, process.communicate()[0]
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 20
    while left := working_in(tmp_path):
        assert time.monotonic() < deadline, f"left running: {left}"
        time.sleep(0.1)
    finished = summaries(tmp_path)
    begun = set(starts(tmp_path)) - finished
    assert len(begun) <= 2

    process = begin(tmp_path)
    output, _ = process.communicate(timeout=3600)
    assert process.returncode == 0, output
    assert f"{len(finished)} of them finished before" in output
    assert working_in(tmp_path) == set()
    assert {name for name, number in starts(tmp_path).items() if number > 1} <= begun

    for run in (tmp_path / "train").iterdir():
        config = json.loads((run / "config.json").read_text())
        steps = [row["step"] for row in read_metrics(run / "metrics.jsonl")]
        assert steps == list(range(config["trainer"]["steps"])), run
    for run in (tmp_path / "evaluate").iterdir():
        sizes = json.loads((run / "summary.json").read_text())["results"].values()
        assert [one["n"] for one in sizes] == [4 * 4], run  # problems, trajectories of each
    report = (tmp_path / "report.html").read_text()
    titles = [one.replace("_", " ").capitalize() for one in TEN]
    assert re.findall(r"<h2[^>]*>([^<]*)</h2>", report) == titles
