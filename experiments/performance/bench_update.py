"""``python -m experiments.performance.bench_update``: an update of SmolLM2, without what makes it fast.

The model of ``make model`` is trained on generated trajectories in groups of eight, half of them uniform. The
same step is taken repeatedly, in interleaved rounds of one run: with everything, with one thing left out, and
with all of them left out. Ratios are of seconds within a round.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import matplotlib.pyplot as plt
import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table

from experiments.performance.bench_records import StepClock
from experiments.performance.bench_trl import prepare
from experiments.performance.figures import rounds_and_interval, save
from experiments.performance.result import end, write_result
from experiments.performance.rounds import number_of_rounds, summary
from experiments.sandbox.processes import made_on
from src.config import Config, WarmStartConfig
from src.formats.build import build_format
from src.launch.entry import composed
from src.policy.loading import load_model
from src.policy.prompt_encoder import PromptEncoder
from src.policy.settle import settle
from src.problems import load_problems
from src.run import allocator
from src.run.console import console, progress
from src.tools import PythonTool
from src.trainer import CIRTrainer, cir_trainer
from src.warm_start.corpus import written
from src.warm_start.examples import encode

GROUP = 8
LEAST = 2.0  # times as fast as without any of it
_DEFAULTS = {-4: 65_536, -1: 131_072}  # glibc's, mallopt(3)


@contextmanager
def memory_returned() -> Any:
    """Inside this context freed memory goes back to the system, as by default."""
    libc = ctypes.CDLL(None)
    for setting, value in _DEFAULTS.items():
        libc.mallopt(setting, value)
    libc.malloc_trim(0)
    try:
        yield
    finally:
        allocator.keep_freed_memory()


LEFT_OUT: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "logits only of labels": lambda: patch.object(cir_trainer, "only_labels", nullcontext),
    "rows sorted by length": lambda: patch.object(cir_trainer, "by_length", lambda batches, **_: batches),
    "padding left out": lambda: patch.object(cir_trainer, "WithoutPadding", lambda model: model),
    "prompts shared": lambda: patch.object(cir_trainer, "SharesPrompts", lambda model: model),
    "zero advantages skipped": lambda: patch.object(cir_trainer, "without_zero_advantage", lambda one: one),
    "freed memory kept": memory_returned,
}
NONE, ALL = "nothing", "all of these"  # is left out


class Rollout:
    """In place of a training step: the same trajectories each time.

    Args:
        trajectories: token ids and loss mask of each.
    """

    def __init__(self, trajectories: list[Any]) -> None:
        self.curriculum = SimpleNamespace(state=dict)
        self._given = {"prompt_ids": [], "completion_ids": [], "env_mask": [], "reward": [], "logprobs": None}
        for number, one in enumerate(trajectories):
            begins = one.mask.index(1)
            asked = trajectories[number - number % GROUP]
            self._given["prompt_ids"].append(asked.ids[: asked.mask.index(1)])
            self._given["completion_ids"].append(one.ids[begins:])
            self._given["env_mask"].append(one.mask[begins:])
            # in every second group all are right
            self._given["reward"].append(1.0 if number // GROUP % 2 else float(number % 2))

    def rollout(self, *_: Any) -> dict[str, Any]:
        """See TrainingStep.rollout."""
        return self._given

    def advantages(self, centred: torch.Tensor, *_: Any) -> torch.Tensor:
        """See TrainingStep.advantages."""
        return centred

    def finish(self, *_: Any) -> None:
        """See TrainingStep.finish."""


def build(model: str, trajectories: int, micro: int, folder: Path) -> tuple[CIRTrainer, StepClock]:
    """A trainer of ``model`` and its clock."""
    cfg, codec = settle(
        composed(
            "train",
            [
                f"model.path={model}", "data=worded", "format=fence", "curriculum=fixed", "tracking=none",
                "rollout.max_tokens=512", "trainer.autocast=bfloat16", "trainer.learning_rate=1e-6",
                "trainer.steps=1", "trainer.advantage=grpo", "trainer.minibatches=1",
                f"trainer.batch_size={trajectories}", f"trainer.samples_per_prompt={GROUP}",
                f"trainer.micro_batch_size={micro}", "trainer.checkpoint_every=0", "records.tokens=false",
                "trainer.skip_zero_advantage=true", "trainer.share_prompts=true",
            ],
            Config,
        )
    )  # fmt: skip
    form = build_format(cfg.format, [PythonTool(None)], codec.tokenizer, cfg.model.prompt_style)
    prompts = PromptEncoder.of(cfg.model, codec.tokenizer, form)
    source = written(WarmStartConfig(), form, "update", family="worded")
    examples = [encode(one, codec, prompts) for one in itertools.islice(source, trajectories)]
    trainer = CIRTrainer(
        cfg, folder, load_model(cfg.model), codec.tokenizer, load_problems(cfg.data, "train")
    )
    step: Any = Rollout(examples)
    trainer.attach(step)
    trainer.args.save_strategy = "no"
    clock = StepClock()
    trainer.add_callback(clock)
    return trainer, clock


def measure(trainer: CIRTrainer, clock: StepClock, rounds: int) -> dict[str, list[float]]:
    """Seconds of each round, by what is left out."""
    arms = {NONE: [], **{name: [made] for name, made in LEFT_OUT.items()}}
    arms[ALL] = list(LEFT_OUT.values())
    found: dict[str, list[float]] = {arm: [] for arm in arms}
    with progress() as bar:
        task = bar.add_task("steps", total=len(arms) * rounds + 1)
        trainer.train()  # warms up
        bar.advance(task)
        for number in range(rounds):
            for arm in list(arms)[:: 1 if number % 2 else -1]:
                with ExitStack() as contexts:
                    for made in arms[arm]:
                        contexts.enter_context(made())
                    trainer.train()
                found[arm].append(clock.seconds)
                bar.advance(task)
    return found


def draw(slower: dict[str, Any], folder: Path) -> None:
    """How many times as long an update takes without each."""
    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    for place, one in enumerate(slower.values()):
        rounds_and_interval(axis, place, one)
    axis.axhline(1, color="black", linewidth=1)
    axis.set_xticks(range(len(slower)), [name.replace(" ", "\n") for name in slower])
    axis.set(
        xlabel="left out",
        ylabel="seconds of an update / with everything",
        title="median, 95 % interval, rounds",
    )
    save(figure, folder / "update")


def main() -> None:
    """Measure, write, draw; exit code 1 if the target is missed."""
    parser = argparse.ArgumentParser(description="what makes an update of SmolLM2 fast")
    parser.add_argument("--rounds", type=number_of_rounds, default=6)
    parser.add_argument("--trajectories", type=int, default=16, help="a multiple of 16")
    parser.add_argument("--micro", type=int, default=8, help="trajectories of a micro-batch")
    parser.add_argument("--model", default="models/smollm2_135m")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="that torch uses")
    parser.add_argument("--out", type=Path, default=Path("experiments/performance/update"))
    arguments = parser.parse_args()
    prepare(arguments.threads)
    allocator.keep_freed_memory()
    with TemporaryDirectory() as folder:
        built = build(arguments.model, arguments.trajectories, arguments.micro, Path(folder))
        seconds = measure(*built, arguments.rounds)
    slower = {
        arm: summary([one / two for one, two in zip(seconds[arm], seconds[NONE], strict=True)])
        for arm in seconds
        if arm != NONE
    }
    low = slower[ALL]["interval"][0]
    result = {
        **made_on(),
        "trajectories": arguments.trajectories,
        "micro_batch_size": arguments.micro,
        "seconds": seconds,
        "times_as_long_without": slower,
        "missed": [] if low >= LEAST else [f"{low:.2f} times as long without any, not at least {LEAST:g}"],
    }
    write_result(result, arguments.out / "update.json")
    draw(slower, arguments.out)
    table = Table("left out", "times as long", "95 % interval", box=SIMPLE_HEAD)
    for name, one in slower.items():
        table.add_row(name, f"{one['median']:.2f}", "{:.2f} to {:.2f}".format(*one["interval"]))
    console.print(table)
    end(result)


if __name__ == "__main__":
    main()
