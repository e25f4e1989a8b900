"""``python -m src.evaluate``: shards, interruption, an engine that is not there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from src.benchmarking import run, shard
from src.checks import ROOT
from src.config import (
    BenchmarkConfig,
    EngineConfig,
    EvaluateConfig,
    EvaluationConfig,
    ModelConfig,
    RolloutConfig,
)
from tests.fakes import problem

CONFIG = EvaluationConfig(
    model=ModelConfig(path=str(ROOT / "experiments" / "mini_base")),
    benchmark=BenchmarkConfig(size=9),
    engine=EngineConfig(kind="transformers"),
    rollout=RolloutConfig(max_tokens=120),
    evaluate=EvaluateConfig(modes=["code"], temperature=0.0),
)


def trajectories(folder: Path) -> dict[tuple[str, str], list[str]]:
    rows = [json.loads(line) for line in (folder / "trajectories.jsonl").read_text().splitlines()]
    assert {row["phase"] for row in rows} == {"evaluate"}
    return {(r["mode"], r["problem_id"]): [s["text"] for s in r["segments"]] for r in rows}


def test_shards_together_are_the_whole(tmp_path: Path) -> None:
    """Greedy: each trajectory is what it is in the whole evaluation."""
    whole = run(CONFIG, tmp_path / "whole")
    parts = {}
    for part in ("0/2", "1/2"):
        folder = tmp_path / part.replace("/", "of")
        cfg = replace(CONFIG, evaluate=replace(CONFIG.evaluate, shard=part))
        summary = run(cfg, folder)
        assert summary["settings"]["shard"] == part
        assert not parts.keys() & trajectories(folder).keys()
        parts |= trajectories(folder)
    assert parts == trajectories(tmp_path / "whole")
    assert len(parts) == 9
    result = whole["results"]["code"]
    assert result["n"] == 9
    assert result["interval"][0] <= result["accuracy"] <= result["interval"][1]
    assert result["accuracy"] > 0.2
    assert json.loads((tmp_path / "whole" / "summary.json").read_text())["results"] == whole["results"]


@pytest.mark.parametrize(("number", "parts"), [(10, 3), (3, 5), (8, 1)])
def test_every_problem_is_in_one_shard(number: int, parts: int) -> None:
    problems = [problem(name=f"p{i}") for i in range(number)]
    dealt = [one.id for i in range(parts) for one in shard(problems, f"{i}/{parts}")]
    assert sorted(dealt) == sorted(one.id for one in problems)
    assert shard(problems, None) == problems


def start(folder: Path, *overrides: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "src.evaluate", f"hydra.run.dir={folder}", *overrides],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def alive(session: int) -> list[str]:
    """Processes of a session."""
    found: list[str] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        if int(text.rpartition(")")[2].split()[3]) == session:
            found.append(text)
    return found


def test_interrupting_it_leaves_whole_records_and_no_process(tmp_path: Path) -> None:
    process = start(
        tmp_path, "engine=transformers", "engine.batch_size=8", "evaluate.modes=[code]", "evaluate.k=64",
        "rollout.max_live=8",
    )  # fmt: skip
    records = tmp_path / "trajectories.jsonl"
    end = time.monotonic() + 90
    while not (records.exists() and records.stat().st_size):
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode not in (0, None)
    rows: list[dict[str, Any]] = [json.loads(line) for line in records.read_text().splitlines()]
    assert rows
    assert all(row["stop_reason"] for row in rows)
    assert not (tmp_path / "summary.json").exists()
    while alive(process.pid):
        assert time.monotonic() < end + 30, alive(process.pid)
        time.sleep(0.1)


def test_a_server_that_is_not_there_is_one_message(tmp_path: Path) -> None:
    process = start(
        tmp_path, "engine=vllm_server", "engine.server.url=http://127.0.0.1:9", "benchmark.size=2",
        "engine.server.start_seconds=0.5",
    )  # fmt: skip
    _, error = process.communicate(timeout=90)
    assert process.returncode == 1
    assert "Traceback" not in error
    assert "EngineError: no vLLM server answers at http://127.0.0.1:9" in error
    assert "engine.server.url" in error
