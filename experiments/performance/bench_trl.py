"""``python -m experiments.performance.bench_trl``: the cost of a training step compared with TRL's trainer.

The mini policy makes one rollout, in free mode with real programs. Then three trainers take the same training
step on it repeatedly, in interleaved rounds of one run: *TRL* (GRPOTrainer, given the trajectories), *ours*,
and *ours, untrimmed* (without trimming columns that are padding in a whole micro-batch). All have the same
settings; a step is everything between TRL's callbacks for its beginning and end, except sampling.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import matplotlib.pyplot as plt
import torch
from datasets import Dataset
from rich.box import SIMPLE_HEAD
from rich.table import Table
from transformers import PrinterCallback, TrainerCallback, set_seed
from transformers.utils import logging as transformers_logging
from trl import GRPOTrainer

from experiments.performance.figures import rounds_and_interval, save
from experiments.performance.result import end, write_result
from experiments.performance.rounds import number_of_rounds, summary
from src.config import Config, DataConfig
from src.policy.loading import load_codec, load_model
from src.policy.settle import settle
from src.problems import load_problems
from src.rollout.adapter import to_trl
from src.rollout.collector import Collected, Collector
from src.rollout.engines.transformers import TransformersEngine
from src.rollout.environment import open_environment
from src.run.console import console, progress
from src.run.provenance import commit
from src.run.records import Occasion
from src.trainer import CIRTrainer, TrainingStep
from src.trainer.curriculum import build_curriculum
from src.trainer.grpo_settings import grpo_config

TRL, OURS, UNTRIMMED = "TRL", "ours", "ours, untrimmed"
ARMS = (TRL, OURS, UNTRIMMED)
MOST = 1.03  # times TRL's
PARTS = ("rollout_func", "scoring", "forward", "backward and the rest")


def settings(minibatches: int, seed: int) -> Config:
    """As in experiment=mini."""
    cfg = Config()
    cfg.data = DataConfig(train_size=64)
    cfg.rollout.max_tokens = 160
    trainer = cfg.trainer
    trainer.batch_size, trainer.samples_per_prompt, trainer.micro_batch_size = 128, 4, 16
    trainer.minibatches, trainer.steps, trainer.learning_rate, trainer.seed = minibatches, 1, 3e-4, seed
    return cfg


class Given(Collector):
    """A collector with fixed trajectories."""

    made: Collected

    def collect(self, *_: Any, **__: Any) -> Collected:
        """See Collector.collect."""
        return self.made


class Clock(TrainerCallback):
    """Takes the time of a rollout step and of its parts.

    Args:
        trainer: whose methods are timed.

    Attributes:
        seconds: of the last step, by part; ``step`` is the whole, ``cpu`` the processor's.
    """

    def __init__(self, trainer: GRPOTrainer) -> None:
        self._optimizer_steps = trainer.args.max_steps
        self.seconds: dict[str, float] = defaultdict(float)
        for part, name in (
            ("rollout_func", "rollout_func"),
            ("scoring", "_generate_and_score_completions"),
            ("forward", "compute_loss"),
        ):
            setattr(trainer, name, self._timed(part, getattr(trainer, name)))
        trainer.add_callback(self)

    def _timed(self, part: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **options: Any) -> Any:
            began = time.perf_counter()
            result = method(*args, **options)
            self.seconds[part] += time.perf_counter() - began
            return result

        return timed

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start at the rollout step's first optimizer step."""
        if state.global_step == 0:
            self.seconds.clear()
            self._began = time.perf_counter(), time.process_time()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop at its last."""
        if state.global_step == self._optimizer_steps:
            found = self.seconds
            found["step"] = time.perf_counter() - self._began[0]
            found["cpu"] = time.process_time() - self._began[1]
            found["backward and the rest"] = found["step"] - found["scoring"] - found["forward"]
            found["scoring"] -= found["rollout_func"]


class Arm:
    """A trainer that takes one rollout step at a time."""

    def __init__(self, trainer: GRPOTrainer, around: AbstractContextManager[Any]) -> None:
        self._trainer, self._around = trainer, around
        trainer.args.save_strategy = "no"
        trainer.remove_callback(PrinterCallback)  # it prints raw dictionaries; ours has none
        self._clock = Clock(trainer)

    def step(self) -> dict[str, float]:
        """Take one; return seconds by part."""
        with self._around:
            self._trainer.train()
        return dict(self._clock.seconds)


def roll_out(cfg: Config, make: Callable[[], Given]) -> Collected:
    """A rollout step's trajectories."""
    samples = cfg.trainer.samples_per_prompt
    problems = load_problems(cfg.data, "train")[: cfg.trainer.batch_size // samples]
    asked = [(problem, sample) for problem in problems for sample in range(samples)]
    return Collector.collect(make(), asked, cfg.rollout.mode, 2, Occasion("train"))


def build(cfg: Config, folder: Path, collector: Given, name: str) -> Arm:
    """A trainer of a fresh policy that is given the collector's trajectories."""
    model, codec = load_model(cfg.model), load_codec(cfg.model)
    problems = load_problems(cfg.data, "train")
    trainer: GRPOTrainer
    if name == TRL:
        handed = to_trl(collector.made.trajectories, collector.made.rewards)
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=lambda reward, **_: reward,
            args=grpo_config(cfg, folder),
            train_dataset=Dataset.from_list([{"prompt": problem.text} for problem in problems]),
            processing_class=codec.tokenizer,
            rollout_func=lambda prompts, trainer: handed,
        )
    else:
        trainer = CIRTrainer(cfg, folder, model, codec.tokenizer, problems)
        trainer.attach(TrainingStep(cfg, problems, collector, build_curriculum(cfg.curriculum)))
    bare = name == UNTRIMMED
    return Arm(
        trainer,
        patch("src.trainer.cir_trainer.WithoutPadding", lambda model: model) if bare else nullcontext(),
    )


def measure(minibatches: int, rounds: int, seed: int) -> dict[str, Any]:
    """Seconds of every arm, a dictionary of parts per round, and what the batch is like."""
    cfg = settings(minibatches, seed)
    set_seed(seed)
    cfg, codec = settle(cfg)
    with (
        open_environment(cfg, codec) as environment,
        TemporaryDirectory() as folder,
        progress() as bar,
    ):

        def collector() -> Given:
            engine = TransformersEngine(
                load_model(cfg.model), codec, temperature=1.0, top_p=1.0, batch_size=cfg.engine.batch_size
            )
            return Given(engine, environment)

        given = collector()
        given.made = roll_out(cfg, collector)
        arms = {name: build(cfg, Path(folder) / name, given, name) for name in ARMS}
        found: dict[str, list[dict[str, float]]] = {name: [] for name in ARMS}
        task = bar.add_task(f"{minibatches} optimizer steps a rollout", total=(rounds + 1) * len(ARMS))
        for number in range(-1, rounds):  # the first is for warming up
            order = ARMS[number % 3 :] + ARMS[: number % 3]
            for name in order if number % 2 else reversed(order):
                seconds = arms[name].step()
                if number >= 0:
                    found[name].append(seconds)
                bar.advance(task)
    prompts = [len(t.task.prompt_ids) for t in given.made.trajectories]
    completions = [len(t.completion_ids) for t in given.made.trajectories]
    return {
        "seconds": found,
        "ratios": {
            name: {kind: ratios(found[name], found[TRL], kind) for kind in ("step", "cpu")}
            for name in ARMS[1:]
        },
        "batch": {
            "trajectories": len(prompts),
            "executions": sum(len(t.executions) for t in given.made.trajectories),
            "tokens": sum(prompts) + sum(completions),
            "padded": len(prompts) * (max(prompts) + max(completions)),  # by TRL
        },
    }


def ratios(arm: Sequence[dict[str, float]], other: Sequence[dict[str, float]], kind: str) -> dict[str, Any]:
    """Ratios within the rounds."""
    return summary([one[kind] / two[kind] for one, two in zip(arm, other, strict=True)])


def missed(result: dict[str, Any]) -> list[str]:
    """Return the targets that ``result`` misses: the whole interval must lie below."""
    found = []
    for minibatches, one in result["measured"].items():
        for name, kinds in one["ratios"].items():
            low, high = kinds["step"]["interval"]
            if high > MOST:
                found.append(
                    f"{minibatches} optimizer steps a rollout: {name} takes {kinds['step']['median']:.3f} "
                    f"({low:.3f} to {high:.3f}) times as long as TRL, not at most {MOST}"
                )
    return found


def draw(result: dict[str, Any], folder: Path) -> None:
    """Where a step's time goes in each arm, and the ratios of the rounds."""
    measured = result["measured"]
    size = (4 * len(measured) + 5, 4)
    figure, axes = plt.subplots(1, len(measured) + 1, figsize=size, layout="constrained")
    for axis, (minibatches, one) in zip(axes, measured.items(), strict=False):
        bottom = [0.0] * len(ARMS)
        for part in PARTS:
            heights = [statistics.median(step[part] for step in one["seconds"][name]) for name in ARMS]
            axis.bar(ARMS, heights, bottom=bottom, label=part)
            bottom = [below + height for below, height in zip(bottom, heights, strict=True)]
        plural = "s" if int(minibatches) > 1 else ""
        axis.set(ylabel="seconds (medians)", title=f"{minibatches} optimizer step{plural} a rollout")
        axis.margins(y=0.4)  # room for the legend
        axis.legend(loc="upper center", ncols=2)
    last, places = axes[-1], []
    for minibatches, one in measured.items():
        for name, kinds in one["ratios"].items():
            ratio, place = kinds["step"], len(places)
            places.append(name.replace(", ", ",\n") + f" ({minibatches})")
            rounds_and_interval(last, place, ratio)
    last.axhline(1, color="black", linewidth=1)
    last.axhline(MOST, color="black", linestyle=":", label=f"target: {MOST}")
    last.set_xticks(range(len(places)), places)
    last.set(ylabel="seconds a step / TRL's, within rounds", title="median, 95 % interval and rounds")
    last.margins(x=0.15)
    last.legend(loc="lower right")
    save(figure, folder / "trl")


def show(result: dict[str, Any]) -> None:
    """Medians, intervals and parts."""
    table = Table("optimizer steps", "arm", "seconds", *PARTS, "of TRL's", "of its CPU's", box=SIMPLE_HEAD)
    for minibatches, one in result["measured"].items():
        for name in ARMS:
            middle = {
                part: f"{statistics.median(step[part] for step in one['seconds'][name]):.3f}"
                for part in ("step", *PARTS)
            }
            shown = [
                f"{ratio['median']:.3f} ({ratio['interval'][0]:.3f} to {ratio['interval'][1]:.3f})"
                for ratio in one["ratios"].get(name, {}).values()
            ]
            table.add_row(minibatches, name, *middle.values(), *shown)
    console.print(table)


def prepare(threads: int) -> None:
    """Set what steps of trainers are measured with."""
    torch.set_num_threads(threads)
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # rollout_func is an experimental interface
    transformers_logging.disable_progress_bar()


def main() -> None:
    """Measure, write, draw; exit code 1 if a target is missed."""
    parser = argparse.ArgumentParser(description="a training step of ours and of TRL's trainer")
    parser.add_argument("--rounds", type=number_of_rounds, default=40)
    parser.add_argument("--minibatches", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="that torch uses")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("experiments/performance/trl"))
    arguments = parser.parse_args()
    prepare(arguments.threads)
    result: dict[str, Any] = {
        "commit": commit(),
        "settings": vars(arguments) | {"out": str(arguments.out), "model": Config().model.path},
        "measured": {
            str(number): measure(number, arguments.rounds, arguments.seed) for number in arguments.minibatches
        },
    }
    result["missed"] = missed(result)
    write_result(result, arguments.out / "trl.json")
    draw(result, arguments.out)
    show(result)
    end(result)


if __name__ == "__main__":
    main()
