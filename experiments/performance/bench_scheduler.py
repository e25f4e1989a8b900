"""``python -m experiments.performance.bench_scheduler``: the cost of the rollout scheduler.

Engine and sandbox are stubs that answer immediately, so that the time is that of the scheduler: scanning for
boundaries, feedback, segments, queues. The time of the stubs is measured separately and reported.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
import tracemalloc
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from experiments.performance.figures import save
from experiments.performance.result import end, write_result
from src.config import ModelConfig, RolloutConfig
from src.formats import FenceFormat
from src.policy.codec import TokenCodec
from src.policy.loading import load_codec
from src.problems import Problem
from src.rollout.engines import Finish, Generation, Request
from src.rollout.scheduler import RolloutScheduler
from src.rollout.trajectory import Task
from src.run.provenance import commit
from src.sandbox import ExecutionResult, Sandbox, Status
from src.tools import PythonTool, Toolbox

TURNS = 5
SAID = (
    "We look for the number of ways, so let us count them with a short program.\n"
    "```python\ntotal = sum(1 for a in range(20) if a * a % 7 == 2)\nprint(total)\n```"
)
LAST = "The program says 6, so the answer is \\boxed{6}."
TARGET_SIZE, TARGET_MICROSECONDS, TARGET_SLOWER, TARGET_GROWTH = 10_000, 150.0, 1.25, 1.5


class InstantEngine:
    """Returns the same text in every turn of every trajectory, immediately."""

    streaming, background = True, False

    def __init__(self, codec: TokenCodec) -> None:
        (eos,) = codec.eos_ids
        self.said, self._last = codec.encode(SAID), [*codec.encode(LAST), eos]
        self._logprobs = [-0.5] * max(len(self.said), len(self._last))
        self._turns: dict[int, int] = {}
        self._pending: deque[Request] = deque()

    @property
    def pending(self) -> int:
        """See Engine.pending."""
        return len(self._pending)

    def start(self, notify: Callable[[], None]) -> None:
        """See Engine.start."""
        self._turns.clear()

    def submit(self, request: Request) -> None:
        """See Engine.submit."""
        self._pending.append(request)

    def poll(self, until: float | None = None) -> list[Generation]:
        """See Engine.poll; 64 at a time."""
        done = []
        for _ in range(min(64, len(self._pending))):
            request = self._pending.popleft()
            turn = self._turns[request.id] = self._turns.get(request.id, 0) + 1
            ids = self.said if turn < TURNS else self._last
            done.append(Generation(request.id, list(ids), self._logprobs[: len(ids)], Finish.STOP))
        return done

    def abort(self) -> list[Generation]:
        """See Engine.abort; nothing here is cut short."""
        return []

    def stop(self) -> None:
        """See Engine.stop."""
        self._pending.clear()


class InstantSandbox(Sandbox):
    """Answers every program with 6, immediately."""

    jail, workers = "none", 1

    def submit(
        self, code: str, *, trajectory: str | None = None, within: float | None = None, block: bool = True
    ) -> Future[ExecutionResult]:
        """See Sandbox.submit."""
        future: Future[ExecutionResult] = Future()
        future.set_result(ExecutionResult(Status.OK, "6\n", None, 0.0))
        return future

    def stats(self) -> dict[str, float]:
        """See Sandbox.stats."""
        return {}

    def close(self) -> None:
        """See Sandbox.close."""


def tasks(number: int, codec: TokenCodec) -> list[Task]:
    """That many tasks of one problem."""
    problem = Problem(id="p", text="p", answer="6", subject=None, level=None, source="none")
    prompt = codec.encode("How many squares leave 2 modulo 7?\n")
    return [Task(problem, "code", index, prompt, TURNS) for index in range(number)]


def scheduler(codec: TokenCodec, **limits: Any) -> RolloutScheduler:
    """The scheduler with both stand-ins."""
    cfg = RolloutConfig(max_tokens=4096, **limits)
    tools = Toolbox([PythonTool(InstantSandbox())])
    form = FenceFormat().prepare(list(tools), codec.tokenizer, "mini")
    return RolloutScheduler(InstantEngine(codec), tools, form, codec, cfg)


def microseconds_a_turn(number: int, codec: TokenCodec) -> float:
    """Of a whole rollout of that many trajectories, each kept."""
    asked, loop = tasks(number, codec), scheduler(codec)
    gc.collect()
    began = time.perf_counter()
    trajectories = loop.run(asked)
    seconds = time.perf_counter() - began
    assert all(len(trajectory.executions) == TURNS - 1 for trajectory in trajectories)
    return seconds / (number * TURNS) * 1e6


def fakes_alone(number: int, codec: TokenCodec) -> float:
    """Microseconds per turn of engine and sandbox without a scheduler."""
    engine, sandbox = InstantEngine(codec), InstantSandbox()
    began = time.perf_counter()
    for _ in range(TURNS):
        for index in range(number):
            engine.submit(Request(index, [], 1))
        while engine.pending:
            for _generation in engine.poll():
                sandbox.submit("").result()
    return (time.perf_counter() - began) / (number * TURNS) * 1e6


def peak_mb(number: int, codec: TokenCodec) -> float:
    """Peak memory of Python while that many trajectories pass, 256 at a time, none kept."""
    loop = scheduler(codec, max_concurrent=256)
    asked = tasks(1, codec)
    tracemalloc.start()
    for _index, _trajectory in loop.stream(asked[0] for _ in range(number)):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def measure(sizes: list[int], rounds: int) -> dict[str, Any]:
    """Everything, in interleaved rounds."""
    codec = load_codec(ModelConfig())
    microseconds_a_turn(200, codec)  # warm
    times: dict[int, list[float]] = {size: [] for size in sizes}
    for number in range(rounds):
        for size in sizes if number % 2 else sizes[::-1]:
            times[size].append(microseconds_a_turn(size, codec))
    return {
        "commit": commit(),
        "turns": TURNS,
        "tokens_a_turn": len(codec.encode(SAID)),
        "microseconds_a_turn": {str(size): values for size, values in times.items()},
        "fakes_alone": fakes_alone(1000, codec),
        "peak_mb": {str(size): peak_mb(size, codec) for size in (sizes[0], TARGET_SIZE)},
    }


def missed(result: dict[str, Any]) -> list[str]:
    """Return the targets that ``result`` misses."""
    middle = {int(size): statistics.median(values) for size, values in result["microseconds_a_turn"].items()}
    memory = {int(size): value for size, value in result["peak_mb"].items()}
    found = []
    slowest = max(middle[size] for size in middle if size <= TARGET_SIZE)
    if slowest > TARGET_MICROSECONDS:
        found.append(f"{slowest:.0f} us a turn, more than {TARGET_MICROSECONDS:.0f}")
    # the cyclic garbage collector sets in up to TARGET_SIZE; beyond, the cost of a turn must be constant
    slower = middle[max(middle)] / middle[TARGET_SIZE]
    if slower > TARGET_SLOWER:
        found.append(f"not linear: a turn of {max(middle):,} trajectories takes {slower:.2f} x as long")
    if memory[max(memory)] > TARGET_GROWTH * memory[min(memory)]:
        found.append(f"memory grows with finished trajectories: {memory}")
    return found


def draw(result: dict[str, Any], folder: Path) -> None:
    """Draw microseconds per turn over the number of trajectories, best and range of the rounds."""
    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    sizes = [int(size) for size in result["microseconds_a_turn"]]
    values = list(result["microseconds_a_turn"].values())
    middle = [statistics.median(one) for one in values]
    below = [m - min(one) for m, one in zip(middle, values, strict=True)]
    above = [max(one) - m for m, one in zip(middle, values, strict=True)]
    axes.errorbar(sizes, middle, yerr=[below, above], marker="o", capsize=4, label="scheduler and stand-ins")
    axes.axhline(result["fakes_alone"], color="0.5", ls=":", label="stand-ins alone")
    axes.axhline(TARGET_MICROSECONDS, color="0.3", ls="--", label="target")
    axes.set(
        xscale="log", xlabel="trajectories of 5 turns", ylabel="microseconds a turn",
        ylim=(0, None), title="Cost of the rollout scheduler, median and range of the rounds",
    )  # fmt: skip
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.legend(loc="lower right")
    save(figure, folder / "scheduler")


def main() -> None:
    """Measure, write, draw; exit code 1 if a target is missed."""
    parser = argparse.ArgumentParser(description="cost of the rollout scheduler")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 3000, TARGET_SIZE, 30_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("experiments/performance/rollout"))
    arguments = parser.parse_args()
    result = measure(sorted(arguments.sizes), arguments.rounds)
    result["missed"] = missed(result)
    write_result(result, arguments.out / "scheduler.json")
    draw(result, arguments.out)
    for size, values in result["microseconds_a_turn"].items():
        print(f"{int(size):>6} trajectories: {', '.join(f'{value:.0f}' for value in values)} us a turn")
    print(f"stand-ins alone {result['fakes_alone']:.0f} us; peak memory {result['peak_mb']} MB")
    end(result)


if __name__ == "__main__":
    main()
