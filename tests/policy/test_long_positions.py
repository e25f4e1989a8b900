"""Prompts beyond a model's own 4,096 positions: engine and trainer see them alike."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from src.config.paths import ROOT
from src.run.records import read_metrics, read_records
from tests import chat_model

YARN = "model.rope={rope_type: yarn, factor: 4.0}"
_WORDS = 4400  # each is at least one token


def program(name: str, *overrides: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", name, *overrides], cwd=ROOT, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def long_problems(tmp_path: Path) -> Path:
    for name, words in (("train", "add one "), ("heldout", "take two ")):
        rows = [{"problem": f"{n} " + words * (_WORDS // 2), "answer": str(n)} for n in range(4)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.mark.parametrize(
    "engine",
    [pytest.param("transformers", marks=pytest.mark.long), pytest.param("vllm", marks=pytest.mark.vllm)],
)
def test_train_and_evaluate(engine: str, long_problems: Path, tmp_path: Path) -> None:
    model = chat_model.write(tmp_path / "model", hidden_size=128)  # vLLM has no kernel for small heads
    common = ["rollout.max_prompt_tokens=12000", "rollout.max_tokens=64", YARN, f"engine={engine}"]
    program(
        "src.train", "data=file", f"data.train_path={long_problems / 'train.jsonl'}",
        f"data.heldout_path={long_problems / 'heldout.jsonl'}",
        f"model.path={model}", "tracking=none", "trainer.steps=1", "trainer.batch_size=4",
        "trainer.samples_per_prompt=2", "trainer.minibatches=1", "trainer.micro_batch_size=2",
        "trainer.learning_rate=1e-3", "evaluate.modes=[free]", "data.heldout.keep_prompt=false",
        "alarm=none", "data.clean.enabled=false", f"hydra.run.dir={tmp_path / 'run'}", *common,
    )  # fmt: skip
    records = read_records(tmp_path / "run" / "trajectories.jsonl")
    assert min(record.prompt_tokens for record in records) > 4096
    if engine == "vllm":
        rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
        assert len(rows) == 1
        assert max(row["sampling/sampling_logp_difference/max"] for row in rows) < 1e-3
    # the checkpoint has them, so that nothing need be given again
    program(
        "src.evaluate", "benchmark=file", f"benchmark.path={long_problems / 'heldout.jsonl'}",
        f"model.path={tmp_path / 'run' / 'checkpoints' / 'step-1'}", "rollout.max_prompt_tokens=12000",
        "rollout.max_tokens=64", "evaluate.k=1", "evaluate.modes=[free]", f"engine={engine}",
        f"hydra.run.dir={tmp_path / 'evaluation'}",
    )  # fmt: skip
    (first, *_), (again, *_) = (
        sorted((r for r in one if r.phase != "train"), key=lambda record: record.problem)
        for one in (records, read_records(tmp_path / "evaluation" / "trajectories.jsonl"))
    )
    assert first.prompt_tokens == again.prompt_tokens
