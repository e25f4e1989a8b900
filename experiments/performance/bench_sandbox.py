"""Speed and memory of the sandbox, against a bare fork, a cold interpreter and the paper's released executor.

    python -m experiments.performance.bench_sandbox --jails bubblewrap sandlock --released PATH/code_excute.py

Everything is measured in interleaved rounds of one run, and compared within each round, because machines
differ and change their speed. Writes results.json, sandbox.png and sandbox.svg to ``--out``; ends with
status 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from experiments.performance.baselines import ForkAndWait, cold, released
from experiments.performance.figures import bench_figure
from experiments.performance.load import Measured, closed_loop, one_by_one, share
from experiments.sandbox.processes import below, made_on, memory
from src.config import SandboxConfig
from src.run.console import console, progress
from src.sandbox import Sandbox, build_sandbox
from src.sandbox.pool import WorkerPool

WARM = ["numpy", "sympy"]
TARGETS = {  # by measure: at least (+1) or below (-1), and how much
    "p50 / fork": (-1, 1.0),
    "throughput / forks": (+1, 0.8),
    "p99 / p50 under load": (-1, 3.0),
    "solve / cold": (+1, 15.0),
    "solve / released": (+1, 6.0),
    "false timeouts": (-1, 0.5),
}
_numbers = itertools.count(2)


def simple() -> str:
    """The smallest program."""
    return "print(1)"


def quadratic() -> str:
    """A quadratic with irrational roots and new numbers each time, so that no cache of sympy has it."""
    n = next(_numbers)  # n * n + 2 is never a square
    return f"from sympy import *\nx = symbols('x')\nprint(solve(x**2 - {2 * n}*x - 2, x))"


def pss(cfg: SandboxConfig) -> float | None:
    """Return the MiB of the whole pool of ``cfg``, with shared pages divided among processes."""
    with build_sandbox(cfg) as sandbox:
        assert isinstance(sandbox, WorkerPool)
        time.sleep(0.5)  # until its children wait
        parts = [memory(pid) for pid in below(sandbox.pids())]
    return sum(part["pss"] for part in parts) if all("pss" in part for part in parts) else None


def footprint(jail: str, measured: Measured) -> None:
    """Start-up time of two workers; memory of one more worker, and of one more child that waits."""
    began = time.perf_counter()
    build_sandbox(SandboxConfig(jail=jail, workers=2, warm=WARM)).close()
    measured.add("start-up of 2, s", time.perf_counter() - began)
    one, two, none, many = (
        pss(SandboxConfig(jail=jail, workers=workers, warm=WARM, waiting=waiting))
        for workers, waiting in ((1, 2), (2, 2), (1, 0), (1, 8))
    )
    if one is not None and two is not None:
        measured.add("one more worker, MB", two - one)
    if none is not None and many is not None:
        measured.add("one more waiting child, MB", (many - none) / 8)


def fork_round(forks: ForkAndWait, seconds: float, measured: Measured) -> dict[str, float]:
    """The reference: one loop alone, then two at once."""
    alone = forks.loop(1, seconds)[0]
    both = forks.loop(2, seconds)
    measured.extend("fork and wait", alone)
    numbers = {"p50": share(alone, 0.5), "per_second": sum(len(taken) / sum(taken) for taken in both)}
    measured.add("fork p50, ms", 1000 * numbers["p50"])
    measured.add("2 fork loops, 1/s", numbers["per_second"])
    return numbers


def jail_round(
    sandbox: Sandbox, forks: dict[str, float], solved: dict[str, float], count: int, measured: Measured
) -> None:
    """One round in one jail; ``forks`` and ``solved``: what it is compared with, per second and so on."""
    alone = one_by_one(sandbox, simple, count)
    measured.extend("print(1)", alone.latencies)
    for name, part in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        measured.add(f"print(1) {name}, ms", 1000 * share(alone.latencies, part))
    measured.add("p50 / fork", share(alone.latencies, 0.5) / forks["p50"])

    full = closed_loop(sandbox, simple, 4 * sandbox.workers, 2 * count)
    measured.add("print(1), 1/s", full.per_second)
    measured.add("throughput / forks", full.per_second / forks["per_second"])

    loaded = closed_loop(sandbox, simple, 10 * sandbox.workers, 2 * count)
    measured.extend("print(1) under load", loaded.latencies)
    p50, p99 = share(loaded.latencies, 0.5), share(loaded.latencies, 0.99)
    measured.add("under load p50, ms", 1000 * p50)
    measured.add("under load p99, ms", 1000 * p99)
    measured.add("p99 / p50 under load", p99 / p50)

    solving = closed_loop(sandbox, quadratic, 4 * sandbox.workers, max(count // 4, 20))
    measured.extend("solve", solving.latencies)
    measured.add("solve, 1/s", solving.per_second)
    for name, per_second in solved.items():
        measured.add(f"solve / {name}", solving.per_second / per_second)
    finished = [full, loaded, alone, solving]
    measured.add("false timeouts", sum(load.statuses["timeout"] for load in finished))
    measured.add(
        "other failures",
        sum(len(load.latencies) - load.statuses["ok"] - load.statuses["timeout"] for load in finished),
    )


def median(measured: Measured, measure: str) -> float | None:
    """Over the rounds; of what counts failures, the sum."""
    values = measured.rounds.get(measure)
    if not values:
        return None
    return sum(values) if measure in ("false timeouts", "other failures") else statistics.median(values)


def met(measure: str, value: float) -> bool | None:
    """Whether ``value`` reaches the target; None where there is none."""
    if measure not in TARGETS:
        return None
    sign, bound = TARGETS[measure]
    return value >= bound if sign > 0 else value < bound


def table(results: dict[str, Measured]) -> Table:
    """Medians of the rounds with their range, and the targets."""
    shown = Table(box=SIMPLE_HEAD, pad_edge=False, title="Medians of the rounds, and their range")
    shown.add_column("measure", no_wrap=True)
    for name in results:
        shown.add_column(name, justify="right")
    shown.add_column("target")
    for measure in dict.fromkeys(measure for measured in results.values() for measure in measured.rounds):
        sign, bound = TARGETS.get(measure, (0, 0.0))
        cells = []
        for measured in results.values():
            value = median(measured, measure)
            if value is None:
                cells.append("-")
                continue
            values, verdict = measured.rounds[measure], met(measure, value)
            text = f"{value:.3g} ({min(values):.3g}-{max(values):.3g})"
            cells.append(
                text
                if verdict is None
                else f"{text} [{'green' if verdict else 'red'}]{'met' if verdict else 'MISSED'}[/]"
            )
        goal = {0: "", 1: f"at least {bound:g}", -1: f"below {bound:g}"}[sign]
        shown.add_row(measure, *cells, "none" if measure == "false timeouts" else goal)
    return shown


def rounds(arguments: argparse.Namespace, results: dict[str, Measured]) -> None:
    """Measure everything, round after round."""
    parallel, reference = 2, results["reference"]
    baselines: dict[str, Callable[[], Any]] = {
        "cold": lambda: cold([quadratic() for _ in range(arguments.cold)], parallel)
    }
    if arguments.released is not None:
        batch = arguments.released_batch
        baselines["released"] = lambda: released(arguments.released, [quadratic() for _ in range(batch)])
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(progress())
        shown = bar.add_task(
            "benchmark", total=arguments.rounds * (1 + len(baselines) + len(arguments.jails))
        )
        forks = stack.enter_context(ForkAndWait(parallel, WARM))
        sandboxes = {
            jail: stack.enter_context(build_sandbox(SandboxConfig(jail=jail, workers=parallel, warm=WARM)))
            for jail in arguments.jails
        }
        for _ in range(arguments.rounds):
            compared = fork_round(forks, arguments.seconds, reference)
            bar.advance(shown)
            solved = {}
            for name, run in baselines.items():
                done = run()
                solved[name] = done.per_second
                reference.add(f"{name}: solve, 1/s", done.per_second)
                reference.add(f"{name}: answered, 1/s", done.answered_per_second)
                reference.add(f"{name}: timeouts", done.timeouts)
                reference.add(f"{name}: failures", done.failures)
                bar.advance(shown)
            for jail, sandbox in sandboxes.items():
                jail_round(sandbox, compared, solved, arguments.count, results[jail])
                bar.advance(shown)


def main() -> int:
    """Run it; 0 if every target is met."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jails", nargs="+", default=["bubblewrap", "sandlock"])
    parser.add_argument("--released", type=Path, help="the released executor's module, code_excute.py")
    parser.add_argument("--released-batch", type=int, default=16, help="programs in one of its batches")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each fork-and-wait loop")
    parser.add_argument("--count", type=int, default=400, help="programs one by one; other counts follow")
    parser.add_argument("--cold", type=int, default=8, help="cold interpreters a round")
    parser.add_argument("--out", type=Path, default=Path("experiments/performance/sandbox"))
    arguments = parser.parse_args()

    results = {name: Measured() for name in ("reference", *arguments.jails)}
    for jail in arguments.jails:
        footprint(jail, results[jail])
    rounds(arguments, results)
    console.print(table(results))
    missed = [
        f"{jail}: {measure} is {value:.3g}"
        for jail in arguments.jails
        for measure in TARGETS
        if (value := median(results[jail], measure)) is not None and not met(measure, value)
    ]
    arguments.out.mkdir(parents=True, exist_ok=True)
    summary: dict[str, Any] = {
        **made_on(),
        "settings": {
            key: value.name if isinstance(value, Path) else value for key, value in vars(arguments).items()
        },
        "targets": {
            name: f"{'at least' if sign > 0 else 'below'} {bound:g}"
            for name, (sign, bound) in TARGETS.items()
        },
        "missed": missed,
        "medians": {
            name: {m: median(measured, m) for m in measured.rounds} for name, measured in results.items()
        },
        "rounds": {name: measured.rounds for name, measured in results.items()},
    }
    (arguments.out / "results.json").write_text(json.dumps(summary, indent=2) + "\n")
    bench_figure(results, arguments.out / "sandbox")
    for line in missed:
        console.print(f"MISSED: {line}", markup=False)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
