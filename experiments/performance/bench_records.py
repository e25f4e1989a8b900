"""``python -m experiments.performance.bench_records``: what the token columns cost a step.

The mini policy makes a few rollouts, in free mode with real programs, whose seconds are taken. Then two
trainers take the same training step of ``experiment=mini`` on the last of them repeatedly, in interleaved
rounds of one run: one writes token columns, the other does not. A step ends when its file is on the disk. The
seconds within the code of the columns are taken, too: they vary less where the machine is shared.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib.pyplot as plt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table
from transformers import TrainerCallback, set_seed

from experiments.performance.bench_trl import Given, prepare
from experiments.performance.figures import rounds_and_interval, save
from experiments.performance.result import end, write_result
from experiments.performance.rounds import number_of_rounds, summary
from experiments.sandbox.processes import made_on
from src.config import Config
from src.launch.entry import composed
from src.policy.loading import load_model
from src.policy.settle import settle
from src.problems import Problem, load_problems
from src.rollout.collector import Collector
from src.rollout.engines.transformers import TransformersEngine
from src.rollout.environment import Environment, open_environment
from src.run.console import console, progress
from src.run.records import Occasion, RecordWriter
from src.run.token_columns import token_files
from src.trainer import CIRTrainer, TrainingStep
from src.trainer.curriculum import build_curriculum

WITHOUT, WITH = "without", "with"
MOST = 0.02  # of a step's time
BYTES = 4.0  # per token and value, before compression
_MODE = "free"
_OVERRIDES = ["+experiment=mini", "trainer.steps=1", "tracking=none", "trainer.checkpoint_every=0"]


class StepClock(TrainerCallback):
    """Takes the seconds of a step, to the end of all that is done about it; added as the last callback."""

    seconds = cpu = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start."""
        self._began = time.perf_counter(), time.process_time()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        """Stop: the file of the tokens is written in this event."""
        if "loss" in logs:
            self.seconds = time.perf_counter() - self._began[0]
            self.cpu = time.process_time() - self._began[1]


class Within:
    """Adds up the seconds in the code of the token columns of a trainer."""

    def __init__(self, trainer: CIRTrainer) -> None:
        self.seconds = 0.0
        for name in ("begin", "add", "write"):
            setattr(trainer._tokens, name, self._timed(getattr(trainer._tokens, name)))

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            began, before = time.perf_counter(), self.seconds
            result = method(*arguments)
            self.seconds = before + time.perf_counter() - began  # write calls begin
            return result

        return timed


def sample(cfg: Config, environment: Environment, folder: Path, rollouts: int) -> tuple[Given, list[float]]:
    """Make rollouts, recorded as in a run; return the last, and the seconds of each but the first."""
    engine = TransformersEngine(
        load_model(cfg.model), environment.codec, temperature=1.0, top_p=1.0, batch_size=cfg.engine.batch_size
    )
    size, seconds = cfg.trainer.samples_per_prompt, []
    problems = load_problems(cfg.data, "train")[: cfg.trainer.batch_size // size]
    asked = [(problem, number) for problem in problems for number in range(size)]
    with RecordWriter(folder / "trajectories.jsonl") as writer:
        fixed = Given(engine, environment, writer)
        for number in range(rollouts + 1):  # the first is for warming up
            began = time.perf_counter()
            fixed.made = Collector.collect(fixed, asked, _MODE, 2, Occasion("train"))
            if number:
                seconds.append(time.perf_counter() - began)
    return fixed, seconds


def build(
    cfg: Config, folder: Path, fixed: Given, problems: list[Problem], *, tokens: bool
) -> tuple[CIRTrainer, StepClock]:
    """A trainer of a fresh policy that is given the collector's trajectories."""
    own = composed("train", [*_OVERRIDES, f"records.tokens={str(tokens).lower()}"], Config)
    own, codec = settle(own)
    trainer = CIRTrainer(own, folder, load_model(cfg.model), codec.tokenizer, problems)
    trainer.attach(TrainingStep(own, problems, fixed, build_curriculum(own.curriculum)))
    trainer.args.save_strategy = "no"
    clock = StepClock()
    trainer.add_callback(clock)
    return trainer, clock


def measure(rounds: int, rollouts: int, seed: int) -> dict[str, Any]:
    """Seconds of every step of both trainers, of the rollouts, and the bytes of the file."""
    set_seed(seed)
    cfg, codec = settle(composed("train", _OVERRIDES, Config))
    with TemporaryDirectory() as name, open_environment(cfg, codec) as environment, progress() as bar:
        folder = Path(name)
        fixed, sampling = sample(cfg, environment, folder, rollouts)
        problems = load_problems(cfg.data, "train")
        arms = {arm: build(cfg, folder / arm, fixed, problems, tokens=arm == WITH) for arm in (WITHOUT, WITH)}
        within = Within(arms[WITH][0])
        found: dict[str, list[dict[str, float]]] = {arm: [] for arm in arms}
        task = bar.add_task("steps", total=2 * (rounds + 1))
        for number in range(-1, rounds):  # the first is for warming up
            for arm in (WITHOUT, WITH) if number % 2 else (WITH, WITHOUT):
                trainer, clock = arms[arm]
                trainer.train()
                if number >= 0:
                    found[arm].append({"seconds": clock.seconds, "cpu": clock.cpu, "within": within.seconds})
                within.seconds = 0.0
                bar.advance(task)
        file = token_files(folder / WITH)[0]
        return {"steps": found, "sampling": sampling, "file": described(file)}


def described(file: Path) -> dict[str, Any]:
    """Return the size of a file of token columns: tokens, values that each has, and bytes."""
    table, meta = pq.read_table(file), pq.read_metadata(file)
    lists = [field.name for field in table.schema if pa.types.is_list(field.type)]
    tokens = sum(len(row) for row in table["token_ids"].to_pylist())
    there = [name for name in lists if table[name].null_count < len(table)]
    groups = [meta.row_group(number) for number in range(meta.num_row_groups)]
    columns = [group.column(number) for group in groups for number in range(group.num_columns)]
    raw = sum(one.total_uncompressed_size for one in columns if one.path_in_schema.partition(".")[0] in there)
    return {
        "trajectories": len(table),
        "tokens": tokens,
        "values": there,
        "bytes_per_token": file.stat().st_size / tokens,
        "bytes_per_token_and_value_before_compression": raw / tokens / len(there),
    }


def shares(measured: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return what the columns add within each round, relative to the update and to the whole step."""
    sampling = statistics.median(measured["sampling"])
    pairs = [
        (one[kind], two[kind])
        for one, two in zip(measured["steps"][WITHOUT], measured["steps"][WITH], strict=True)
    ]
    kinds = {"of the update": [(two - one) / one for one, two in pairs]}
    if kind == "seconds":
        kinds["of the step"] = [(two - one) / (one + sampling) for one, two in pairs]
        steps = measured["steps"][WITH]
        kinds["of the step, within"] = [one["within"] / (one[kind] + sampling) for one in steps]
    return {name: summary(values) for name, values in kinds.items()}


def missed(result: dict[str, Any]) -> list[str]:
    """Return the targets that ``result`` misses: the whole interval must lie below."""
    found, share = [], result["shares"]["seconds"]["of the step"]
    low, high = share["interval"]
    if high > MOST:
        found.append(
            f"token columns take {share['median']:.2%} ({low:.2%} to {high:.2%}) of a step, "
            f"not at most {MOST:.0%}"
        )
    size = result["measured"]["file"]["bytes_per_token_and_value_before_compression"]
    if size > BYTES:
        found.append(f"{size:.2f} bytes per token and value before compression, not at most {BYTES:g}")
    return found


def draw(result: dict[str, Any], folder: Path) -> None:
    """The rounds, medians and intervals."""
    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    places = []
    for kind, found in result["shares"].items():
        for name, one in found.items():
            place = len(places)
            places.append(f"{name},\n{kind}")
            rounds_and_interval(axis, place, one)
    axis.axhline(0, color="black", linewidth=1)
    axis.axhline(MOST, color="black", linestyle=":", label=f"target: {MOST:.0%} of a step")
    axis.set_xticks(range(len(places)), places)
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axis.set(ylabel="added by token columns, within rounds", title="median, 95 % interval and rounds")
    axis.legend()
    save(figure, folder / "records")


def show(result: dict[str, Any]) -> None:
    """Medians and intervals."""
    table = Table("token columns add", "median", "95 % interval", box=SIMPLE_HEAD)
    for kind, found in result["shares"].items():
        for name, one in found.items():
            low, high = one["interval"]
            table.add_row(f"{name}, {kind}", f"{one['median']:.2%}", f"{low:.2%} to {high:.2%}")
    console.print(table)
    file = result["measured"]["file"]
    console.print(
        f"{file['bytes_per_token']:.2f} bytes per token on disk; before compression "
        f"{file['bytes_per_token_and_value_before_compression']:.2f} per token and value"
    )


def main() -> None:
    """Measure, write, draw; exit code 1 if a target is missed."""
    parser = argparse.ArgumentParser(description="what the token columns cost")
    parser.add_argument("--rounds", type=number_of_rounds, default=40)
    parser.add_argument("--rollouts", type=int, default=3, help="whose seconds are taken")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="that torch uses")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("experiments/performance/records"))
    arguments = parser.parse_args()
    prepare(arguments.threads)
    measured = measure(arguments.rounds, arguments.rollouts, arguments.seed)
    result: dict[str, Any] = {
        **made_on(),
        "settings": vars(arguments) | {"out": str(arguments.out)},
        "measured": measured,
        "shares": {kind: shares(measured, kind) for kind in ("seconds", "cpu")},
    }
    result["missed"] = missed(result)
    write_result(result, arguments.out / "records.json")
    draw(result, arguments.out)
    show(result)
    end(result)


if __name__ == "__main__":
    main()
