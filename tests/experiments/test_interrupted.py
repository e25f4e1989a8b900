"""An interrupted evaluation is the whole one, through the command that users run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from src.config.paths import ROOT


@pytest.mark.parametrize(
    ("engine", "equal"),
    [
        pytest.param("transformers", "1.0", marks=pytest.mark.long),
        pytest.param("vllm", "0.99", marks=pytest.mark.vllm),
    ],
)
def test_three_kills_change_nothing(engine: str, equal: str, tmp_path: Path) -> None:
    """All modes, sampled; vLLM computes a token in whatever batch it comes up: the last bits may differ."""
    options = ["engine.vllm.eager=true"] if engine == "vllm" else ["engine.batch_size=64"]
    command = [
        sys.executable, "-m", "experiments.evaluation.interrupted", str(tmp_path),
        "--kills", "3", "--equal", equal,
        f"engine={engine}", *options, "benchmark.size=20", "evaluate.k=8", "rollout.max_concurrent=80",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("killed with") == 3
    assert "480 trajectories" in done.stdout
