"""One process of tiny runs of several: ``processes_job.py FOLDER``. The first writes ``result.json``.

With ACCELERATE_USE_FSDP, as the launcher's configuration sets it, weights are shared out; accelerate takes
that for a matter of GPUs: see share_out_on_a_cpu.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType

from src.config import Config, CurriculumConfig
from src.rewards import Grade
from src.rollout.engines import Finish, Generation, Request
from src.rollout.engines.transformers import TransformersEngine
from src.run.processes import Ranks
from src.trainer import CIRTrainer
from src.trainer.callbacks import AtStart
from tests import tiny
from tests.fakes import BPE, FakeSandbox

BLOCK = BPE.encode("```python\nprint(1)\n```")


class Scripted:
    """Says what its place among all trajectories of the step and its turn say, whatever process it is in."""

    streaming, background = False, False

    def __init__(self, first: int) -> None:
        self._first, self._pending = first, list[Request]()

    @property
    def pending(self) -> int:
        return len(self._pending)

    def start(self, notify: Callable[[], None]) -> None: ...

    def stop(self) -> None: ...

    def submit(self, request: Request) -> None:
        self._pending.append(request)

    def abort(self) -> list[Generation]:
        return []

    def poll(self, until: float | None = None) -> list[Generation]:
        pending, self._pending = self._pending, []
        return [self._say(request) for request in pending]

    def _say(self, request: Request) -> Generation:
        draw = random.Random(f"{self._first + request.id}-{request.token_ids}")
        text = "".join(draw.choices("abcdefgh ", k=draw.randrange(1, 9)))
        if draw.random() < 0.5:
            text += f"\\boxed{{{draw.randrange(10)}}}"
        said = [*BPE.encode(text), min(BPE.eos_ids)]
        if request.max_tokens == 40 and draw.random() < 0.7:
            said = BLOCK + said
        return Generation(request.id, said[: request.max_tokens], None, Finish.STOP)


class Odd:
    """Takes odd answers for right."""

    def submit(self, gold: str, answer: str | None) -> Future[Grade]:
        future: Future[Grade] = Future()
        future.set_result(Grade(correct=answer is not None and int(answer) % 2 == 1))
        return future


class Hard:
    """The first group of each step is all wrong, the next one half right: two are asked in a step."""

    def __init__(self) -> None:
        self._asked = 0

    def submit(self, gold: str, answer: str | None) -> Future[Grade]:
        future: Future[Grade] = Future()
        group, place = divmod(self._asked, 8)
        future.set_result(Grade(correct=group % 2 == 1 and place < 4))
        self._asked += 1
        return future


class Uneven(TransformersEngine):
    """Writes code in all its turns in the last process, and never in the first."""

    def __init__(self, *args: Any, codes: bool, **options: Any) -> None:
        super().__init__(*args, **options)
        self._codes = codes

    def poll(self, until: float | None = None) -> list[Generation]:
        polled = super().poll(until)
        if not self._codes:
            return polled
        return [Generation(g.id, BLOCK, None, Finish.STOP) for g in polled]


def config(scenario: str) -> Config:
    """A group of the scripted one begins in the first of two processes and ends in the second."""
    cfg = tiny.config(
        steps=3, batch_size=24, samples_per_prompt=8, minibatches=1, micro_batch_size=2, learning_rate=1e-3
    )
    cfg.trainer.checkpoint_every = 2
    cfg.trainer.advantage = "rloo"
    cfg.records.tokens = True
    if scenario == "uneven":
        cfg.trainer.batch_size = 16
        cfg.trainer.dynamic_sampling = 2
        cfg.curriculum = CurriculumConfig(kind="fixed", budget=3)
        cfg.rollout.max_tokens = 120
    return cfg


def build(
    scenario: str, folder: Path, ranks: Ranks, steps: list[dict[str, float]], wrapped: list[str]
) -> CIRTrainer:
    """A trainer that notes what its steps logged and what its model was wrapped in."""
    cfg = config(scenario)
    last = ranks.rank == ranks.world - 1
    options: dict[str, Any]
    if scenario == "scripted":
        rows = cfg.trainer.batch_size // ranks.world
        options = {"engine": lambda *_, **__: Scripted(ranks.rank * rows), "grader": Odd()}
    else:
        in_step = ranks if os.environ.get("ACCELERATE_USE_FSDP") == "true" else None
        options = {
            "engine": partial(Uneven, codes=last, in_step=in_step),
            "sandbox": FakeSandbox(delay=0.3 if last else 0.0),
            "grader": Hard() if last else None,
        }
    trainer: CIRTrainer
    trainer = tiny.trainer(
        cfg,
        folder,
        ranks=ranks,
        callbacks=[
            AtStart(lambda: wrapped.append(type(trainer.model_wrapped).__name__)),
        ],
        report=lambda step, metrics, fired: steps.append(metrics),
        **options,
    )
    return trainer


def train(scenario: str, folder: Path, ranks: Ranks) -> dict[str, Any]:
    """Train, then again from the checkpoint before the last step."""
    steps: list[dict[str, float]] = []
    wrapped: list[str] = []
    trainer = build(scenario, folder, ranks, steps, wrapped)
    trainer.train()
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    result = {
        "world": trainer.accelerator.num_processes,
        "wrapped": wrapped[0],
        "shared": trainer.shares_weights,
        "steps": list(steps),
        "weights": {name: value.float().flatten().tolist() for name, value in weights.items()},
        "executions": ranks.gather(len([e for r in trainer.step.records for e in r.executions])),
    }
    if scenario == "scripted":
        steps.clear()
        again = build(scenario, folder / "again", ranks, steps, wrapped)
        again.train(resume_from_checkpoint=str(folder / "checkpoints" / "step-2"))
        result["resumed"] = steps
    return result


def share_out_on_a_cpu() -> None:
    """Tell accelerate that there are GPUs, and compute on the CPU."""
    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    PartialState._prepare_backend = lambda *_: ("gloo", DistributedType.MULTI_GPU)


def main(folder: Path) -> None:
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        share_out_on_a_cpu()
    torch.set_num_threads(1)
    with Ranks(120) as ranks:
        results = {name: train(name, folder / name, ranks) for name in ("scripted", "uneven")}
        if ranks.first:
            (folder / "result.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
