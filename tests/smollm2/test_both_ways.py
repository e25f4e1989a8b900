"""A layer of the real model learns calls, then two steps: all weights and fences, adapters and hermes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from src.config import StartModelConfig, TuneConfig, WarmStartConfig
from src.config.paths import ROOT
from src.policy.loading import load_codec
from src.rewards.terms import Outcome
from src.run import checkpoints
from src.run.records import SUMMARY, read_metrics, read_records
from src.run.token_columns import read_tokens
from src.warm_start.from_model import start_from_model
from tests.smollm2.model import FOLDER, model_config

pytestmark = pytest.mark.long

FORMATS = {"fence": "src.formats.FenceFormat", "hermes": "src.formats.HermesFormat"}
RANKS = {"fence": 0, "hermes": 4}
OPENINGS = {"fence": "```output", "hermes": "<tool_response>"}
TUNE = TuneConfig(
    trajectories=12, heldout=4, levels=[1], epochs=20, batch_tokens=4096, learning_rate=3e-3, heldout_every=0
)


def varied(outcome: Outcome, weight: float) -> float:
    """A reward that differs within groups, so that there is a gradient whatever the policy solves."""
    return weight * outcome.tokens


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real model's tokenizer, embeddings and first layer."""
    codec, folder = load_codec(model_config()), tmp_path_factory.mktemp("cut")
    model = AutoModelForCausalLM.from_pretrained(FOLDER, num_hidden_layers=1, dtype=torch.float32)
    model.save_pretrained(folder)
    codec.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=FORMATS)
def start(request: pytest.FixtureRequest, cut: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a short warm start in a format makes of it."""
    output = tmp_path_factory.mktemp(request.param)
    start_from_model(
        WarmStartConfig(
            model=StartModelConfig(path=str(cut)),
            output=str(output),
            format={"_target_": FORMATS[request.param]},
            tune=TUNE,
        )
    )
    return output


def test_two_steps(start: Path, tmp_path: Path) -> None:
    form = next(name for name, target in FORMATS.items() if target in (start / "cir.json").read_text())
    folder, rank = tmp_path / "run", RANKS[form]
    command = [
        *(sys.executable, "-m", "src.train", "+experiment=mini_debug", f"hydra.run.dir={folder}"),
        *(f"model.path={start}", f"model.lora.rank={rank}", "tracking=none", "records.tokens=true"),
        *(
            "trainer.batch_size=16",
            "trainer.micro_batch_size=8",
            "data.heldout_size=4",
            "rollout.max_tokens=96",
        ),
        *("evaluate.modes=[free]", "rollout.mode=code", "rollout.temperature=0.8"),
        *("evaluate.phases=[after]", "trainer.learning_rate=1e-5", "trainer.checkpoint_every=0"),
        "+reward.terms.varied={_target_: tests.smollm2.test_both_ways.varied, weight: 0.01}",
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, env=environment)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    assert (folder / SUMMARY).is_file()
    metrics = read_metrics(folder / "metrics.jsonl")
    assert [line["step"] for line in metrics] == [0, 1]
    assert all(line["grad_norm"] > 0 for line in metrics)

    records = [one for one in read_records(folder / "trajectories.jsonl") if one.phase == "train"]
    assert sum(len(one.executions) for one in records) > 0, "nothing was called"
    feedback = [s.text for one in records for s in one.segments if s.author == "tool"]
    assert any(OPENINGS[form] in text for text in feedback)

    codec = load_codec(model_config())
    for step in (0, 1):
        for row in read_tokens(folder, step).iter_rows(named=True):
            trained = [author == "policy" for author in row["author"]]
            assert row["mask"] == trained
            text = b"".join(map(codec.bytes_of, row["token_ids"]))
            assert text.decode(errors="replace").startswith("<|im_start|>")

    checkpoint = checkpoints.resolve(folder)
    name = "adapter_model.safetensors" if rank else "model.safetensors"
    after = load_file(checkpoint / name)
    if rank:
        assert any(tensor.abs().max() > 0 for key, tensor in after.items() if "lora_B" in key)
    else:
        before = load_file(start / name)
        assert after.keys() == before.keys()
        assert any(not torch.equal(tensor, before[key]) for key, tensor in after.items())
    assert json.loads((checkpoint / "cir.json").read_text())["prompt_style"] == "chat"
