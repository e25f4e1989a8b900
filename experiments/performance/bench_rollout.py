"""``python -m experiments.performance.bench_rollout``: the gain of overlapping generation and execution.

The same policy, prompts and vLLM in the arms of one run, in interleaved rounds: *lockstep* (each turn waits
for the slowest generation, then for the slowest program), *streaming*, *zero* (streaming, programs that take
no time) and *streaming, follow* (as under ``rollout.max_seconds``). The duration of a program is determined
by its text and turn: 30 ms, one in ten 0.5 s, three in a hundred 3 s. With greedy sampling all arms have the
same trajectories. The mini policy writes one program and then its answer; where it would end, a second
program is inserted, so that every trajectory has two executions.

Also measures what each choice of ``rollout.boundary`` throws away, on the mini policy with real programs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
from rich.box import SIMPLE_HEAD
from rich.table import Table

from experiments.performance.figures import save
from experiments.performance.result import end, write_result
from experiments.performance.rollout_arms import EXECUTIONS, LONG, Insisting, Lockstep, SleepingSandbox
from src.config import Config, ModelConfig, RolloutConfig, SandboxConfig
from src.formats import FenceFormat
from src.policy.codec import TokenCodec
from src.policy.loading import load_codec
from src.problems import Problem, load_problems
from src.problems.prompt_text import build_prompt
from src.rollout.engines import Engine
from src.rollout.engines.vllm_variables import set_vllm_variables
from src.rollout.scheduler import RolloutScheduler
from src.rollout.trajectory import Author, Task, Trajectory
from src.run.console import console, progress
from src.run.provenance import commit
from src.sandbox import Sandbox, build_sandbox
from src.tools import PythonTool, Toolbox

if TYPE_CHECKING:
    from vllm import LLM

SPEEDUP = {256: 1.5, 1024: 1.25}  # least, streaming over lockstep
OVERHEAD = 1.15  # most, streaming over zero latency plus the longest program
MAX_TOKENS = 160


class Bench:
    """One vLLM and one codec; makes rollouts of it.

    Args:
        seed: of problems and latencies.
        most: maximum number of trajectories.
    """

    def __init__(self, seed: int, most: int) -> None:
        cfg = Config()
        cfg.engine.kind = "vllm"
        cfg.rollout.max_tokens = MAX_TOKENS
        cfg.data.heldout_size = most
        set_vllm_variables(cfg.engine)
        from src.rollout.engines.colocated import load_llm

        self.seed = seed
        self.codec: TokenCodec = load_codec(ModelConfig())
        self.problems = load_problems(cfg.data, "heldout")
        self.llm: LLM = load_llm(cfg.engine, cfg.model, cfg.rollout, seed)

    def engine(self, **options: Any) -> Engine:
        """An engine over the one vLLM; greedy unless ``temperature`` is given."""
        from src.rollout.engines.vllm import VLLMEngine

        return VLLMEngine(self.llm, self.codec, **({"temperature": 0.0, "top_p": 1.0} | options))

    def tasks(self, number: int, mode: str) -> list[Task]:
        """Return that many tasks, each of a different problem; a chain's third program is refused."""
        return [Task(p, mode, 0, self._prompt(p, mode), EXECUTIONS) for p in self.problems[:number]]

    def _prompt(self, problem: Problem, mode: str) -> list[int]:
        return list(self.codec.tokenizer(build_prompt(problem, mode, "mini"))["input_ids"])

    def rollout(
        self, engine: Engine, sandbox: Sandbox, number: int, mode: str = "code", **limits: Any
    ) -> tuple[dict[str, float], list[Trajectory]]:
        """Return seconds, metrics of the meter, and the trajectories."""
        self.llm.reset_prefix_cache()  # arms do not share caches
        tools, cfg = Toolbox([PythonTool(sandbox)]), RolloutConfig(max_tokens=MAX_TOKENS, **limits)
        form = FenceFormat().prepare(list(tools), self.codec.tokenizer, "mini")
        scheduler = RolloutScheduler(engine, tools, form, self.codec, cfg)
        began = time.perf_counter()
        trajectories = scheduler.run(self.tasks(number, mode))
        seconds = time.perf_counter() - began
        meter = scheduler.meter
        return {"seconds": seconds, **meter.seconds(), **meter.metrics()}, trajectories


def overlap(bench: Bench, sizes: list[int], rounds: int) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Measure every arm at every size, in interleaved rounds."""
    arms: dict[str, Callable[[], tuple[Engine, int | None]]] = {
        "zero": lambda: (bench.engine(), None),
        "streaming": lambda: (bench.engine(), bench.seed),
        "lockstep": lambda: (Lockstep(bench.engine()), bench.seed),
        "streaming, follow": lambda: (bench.engine(follow=True), bench.seed),
    }
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    with progress() as bar:
        task = bar.add_task("overlap", total=len(sizes) * rounds * len(arms))
        bench.rollout(bench.engine(), SleepingSandbox(None), 64)  # warm
        for size in sizes:
            for number in range(rounds):
                shapes = set()
                for name in list(arms) if number % 2 == 0 else reversed(arms):
                    engine, seed = arms[name]()
                    with SleepingSandbox(seed) as sandbox:
                        insisting = Insisting(engine, bench.codec)
                        measured, trajectories = bench.rollout(insisting, sandbox, size)
                        measured["longest_chain"] = sandbox.longest_chain
                        assert all(len(t.executions) == EXECUTIONS for t in trajectories)
                    found.setdefault(str(size), {}).setdefault(name, []).append(measured)
                    shapes.add(tuple(len(t.completion_ids) for t in trajectories))
                    bar.advance(task)
                if len(shapes) > 1:  # ties between equally likely tokens; the work is nearly the same
                    console.print(f"{size}, round {number}: the arms' trajectories differ in places")
    return found


def waste(bench: Bench, number: int) -> dict[str, dict[str, float]]:
    """Measure waste and cost of each boundary, sampling at temperature 1 with real programs."""
    found = {}
    with build_sandbox(SandboxConfig()) as sandbox:
        for boundary in ("exact", "post_hoc", "stop_string"):
            engine = bench.engine(temperature=1.0)
            measured, trajectories = bench.rollout(engine, sandbox, number, mode="free", boundary=boundary)
            kept = sum(t.tokens(Author.POLICY) for t in trajectories)
            dropped = sum(t.dropped_tokens for t in trajectories)
            found[boundary] = {
                "seconds": measured["seconds"],
                "sampled": kept + dropped,
                "dropped": dropped,
                "dropped_share": dropped / (kept + dropped),
                "executions": sum(len(t.executions) for t in trajectories),
            }
    return found


def ratios(overlapped: dict[str, dict[str, list[dict[str, float]]]]) -> dict[str, dict[str, list[float]]]:
    """Within each round: lockstep over streaming, streaming over zero and the longest program, and follow."""
    found = {}
    for size, arms in overlapped.items():
        seconds = {name: [one["seconds"] for one in rounds] for name, rounds in arms.items()}
        order = ("zero", "streaming", "lockstep", "streaming, follow")
        rounds = list(zip(*(seconds[name] for name in order), strict=True))
        found[size] = {
            "lockstep / streaming": [lock / stream for _, stream, lock, _ in rounds],
            "streaming / (zero + 3 s)": [stream / (zero + LONG) for zero, stream, _, _ in rounds],
            "follow / streaming": [follow / stream for _, stream, _, follow in rounds],
        }
    return found


def missed(result: dict[str, Any]) -> list[str]:
    """Return the targets that ``result`` misses."""
    found = []
    for size, one in result["ratios"].items():
        speedup = statistics.median(one["lockstep / streaming"])
        if speedup < SPEEDUP.get(int(size), 0.0):
            found.append(
                f"{size} trajectories: streaming is {speedup:.2f} x as fast, not {SPEEDUP[int(size)]}"
            )
        overhead = statistics.median(one["streaming / (zero + 3 s)"])
        if overhead > OVERHEAD:
            found.append(f"{size} trajectories: streaming takes {overhead:.2f} x zero latency and 3 s")
    fence = result["waste"]["fence"]
    # at most the one token (docs/design.md, invariant Boundary) that closes a block
    if fence["dropped"] > fence["executions"]:
        found.append(
            f"the exact boundary dropped {fence['dropped']} tokens at {fence['executions']} executions"
        )
    return found


def draw(result: dict[str, Any], folder: Path) -> None:
    """Draw the seconds of each arm, and the tokens that each boundary throws away."""
    sizes = list(result["overlap"])
    figure, axes = plt.subplots(1, len(sizes) + 1, figsize=(4 * len(sizes) + 4, 3.8), layout="constrained")
    names = {"zero": "zero latency", "streaming": "streaming", "lockstep": "lockstep"}
    for axis, size in zip(axes, sizes, strict=False):
        for place, arm in enumerate(names):
            rounds = [one["seconds"] for one in result["overlap"][size][arm]]
            middle = statistics.median(rounds)
            error = [[middle - min(rounds)], [max(rounds) - middle]]
            idle = statistics.median(one["execution"] for one in result["overlap"][size][arm])
            axis.bar(place, middle, yerr=error, capsize=4, color="tab:blue")
            axis.bar(place, idle, color="tab:orange", label="engine idle" if not place else None)
            axis.annotate(f"{middle:.1f}", (place, middle), (8, 3), textcoords="offset points")
        axis.set_xticks(range(len(names)), list(names.values()))
        axis.set(ylabel="seconds a rollout (median, range)", title=f"{int(size):,} trajectories")
        axis.margins(y=0.15)
        axis.legend()
    last = axes[-1]
    shares = {name: 100 * one["dropped_share"] for name, one in result["waste"].items()}
    drawn = last.bar(list(shares), list(shares.values()), color="tab:blue")
    last.bar_label(drawn, [f"{share:.2f} %" for share in shares.values()], padding=2)
    last.set(ylabel="share of sampled tokens thrown away, %", title="rollout.boundary", xlabel="")
    last.margins(y=0.15)
    save(figure, folder / "rollout")


def show(result: dict[str, Any]) -> None:
    """Medians and ranges."""
    table = Table("trajectories", "ratio", "median", "range", box=SIMPLE_HEAD)
    for size, one in result["ratios"].items():
        for name, values in one.items():
            middle = statistics.median(values)
            table.add_row(size, name, f"{middle:.2f}", f"{min(values):.2f} to {max(values):.2f}")
    console.print(table)
    for name, one in result["waste"].items():
        console.print(
            f"{name}: {one['dropped']:,} of {one['sampled']:,} sampled tokens thrown away "
            f"({one['dropped_share']:.2%}), {one['executions']} executions, {one['seconds']:.1f} s"
        )


def main() -> None:
    """Measure, write, draw; exit code 1 if a target is missed."""
    parser = argparse.ArgumentParser(description="streaming against lockstep")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("experiments/performance/rollout"))
    arguments = parser.parse_args()
    bench = Bench(arguments.seed, max(*arguments.sizes, 512))
    measured = overlap(bench, arguments.sizes, arguments.rounds)
    result: dict[str, Any] = {
        "commit": commit(),
        "settings": vars(arguments)
        | {"out": str(arguments.out), "model": ModelConfig().path, "max_tokens": MAX_TOKENS},
        "overlap": measured,
        "ratios": ratios(measured),
        "waste": waste(bench, 512),
    }
    result["missed"] = missed(result)
    write_result(result, arguments.out / "rollout.json")
    draw(result, arguments.out)
    show(result)
    end(result)


if __name__ == "__main__":
    main()
