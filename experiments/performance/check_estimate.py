"""``python -m experiments.performance.check_estimate``: compares ``estimate=true`` with a GPU.

On one GPU a random model of about 100 million parameters is trained for two rollout steps by the project's
own trainer, once plainly, once with autocast and gradient checkpointing, and the peak that torch
allocated is compared with the estimate. A random model hardly ever ends its text, so that trajectories reach
the maximum length that the estimate assumes. Exit code 1 if they differ by more than 15 %, 2 without a GPU.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config

from src.config import Config
from src.config.composition import compose
from src.config.paths import ROOT
from src.estimate import estimate
from src.launch.checks import load
from src.run.console import console

WITHIN = 0.15
BASE = ROOT / "experiments" / "mini_base"  # its tokenizer
CASES = {
    "float32": [],
    "bfloat16": ["model.dtype=bfloat16"],
    "autocast, checkpointing": ["trainer.autocast=bfloat16", "trainer.gradient_checkpointing=true"],
}
OVERRIDES = [
    *("+experiment=mini", "tracking=none", "alarm=none", "engine=transformers", "engine.batch_size=32"),
    *("evaluate.modes=[free]", "data.heldout_size=8", "data.train_size=64", "rollout.max_tokens=768"),
    *("rollout.max_prompt_tokens=128", "rollout.tools=false", "rollout.mode=text", "curriculum=fixed"),
    *("trainer.steps=2", "trainer.batch_size=64", "trainer.micro_batch_size=16"),
]


def make_model(folder: Path) -> None:
    """Write a random model, with the tokenizer of the mini policy."""
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    config = Qwen3Config(
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=4,
        head_dim=64,
        intermediate_size=2304,
        vocab_size=16_384,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def measure(cfg: Config, folder: Path) -> int:
    """Return the most bytes that torch had allocated at once while ``cfg`` ran."""
    from src.experiment.training import run

    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run(cfg, folder)
    return torch.cuda.max_memory_allocated() - before


def main() -> None:
    """Measure each case; print a table."""
    if not torch.cuda.is_available():
        print("check_estimate needs a GPU, and torch sees none here: nothing was checked", file=sys.stderr)
        sys.exit(2)
    table = Table(title=torch.cuda.get_device_name(), box=SIMPLE_HEAD)
    for column in ("case", "estimated GB", "measured GB", "estimated / measured"):
        table.add_column(column)
    ratios = []
    with tempfile.TemporaryDirectory() as temporary:
        make_model(Path(temporary) / "model")
        for name, overrides in CASES.items():
            options = [*OVERRIDES, *overrides, f"model.path={temporary}/model"]
            cfg = load(Config, compose("train", Config, options))
            estimated = estimate(cfg).memory.needed
            measured = measure(cfg, Path(temporary) / "run")
            shutil.rmtree(Path(temporary) / "run")
            ratios.append(estimated / measured)
            table.add_row(name, f"{estimated / 1e9:.2f}", f"{measured / 1e9:.2f}", f"{ratios[-1]:.3f}")
    console.print(table)
    sys.exit(int(any(abs(ratio - 1) > WITHIN for ratio in ratios)))


if __name__ == "__main__":
    main()
