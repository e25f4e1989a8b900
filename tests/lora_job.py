"""One process of a tiny run whose adapted weights are shared out: ``lora_job.py FOLDER``.

Writes what :func:`~src.policy.adapters.merged_parameters` yields in this process after training. Accelerate
is told that there are GPUs, as in processes_job.py.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file

from src.config import LoRAConfig, ModelConfig
from src.policy.adapters import add_adapter, merged_parameters
from src.run.processes import Ranks
from tests import tiny
from tests.processes_job import share_out_on_a_cpu


def main(folder: Path) -> None:
    share_out_on_a_cpu()
    torch.set_num_threads(1)
    plain = tiny.model
    tiny.model = lambda seed=0: add_adapter(  # type: ignore[assignment]
        plain(seed).to(torch.bfloat16), ModelConfig(lora=LoRAConfig(rank=4))
    )
    with Ranks(120) as ranks:
        cfg = tiny.config(steps=2, minibatches=1, micro_batch_size=2)
        trainer = tiny.trainer(cfg, folder, ranks=ranks, engine=partial(tiny.CodingEngine, in_step=ranks))
        trainer.train()
        assert trainer.shares_weights
        merged = dict(merged_parameters(trainer.model, torch.device("cpu")))
        save_file(merged, folder / f"merged-{ranks.rank}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
