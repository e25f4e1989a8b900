"""Soak: very many programs, some hostile, through one pool; nothing may be lost, mixed up or left behind.

    python -m experiments.sandbox.soak --jail bubblewrap --executions 200000

Writes soak.json, soak.png and soak.svg to ``--out``; ends with status 1 and a list if anything was lost,
mixed up, ended with a wrong status, or leaked. An honest program cut off by the wall limit is caused by a
busy machine, not by the pool: such false timeouts are counted, and are a failure only beyond 1 %.
"""

from __future__ import annotations

import argparse
import collections
import glob
import json
import os
import queue
import random
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from experiments.sandbox.figures import soak_figure
from experiments.sandbox.processes import below, descriptors, leftovers, made_on, memory, workers
from experiments.sandbox.programs import SoakProgram, make
from src.config import SandboxConfig
from src.run.console import console, progress
from src.sandbox import ExecutionResult, Sandbox, Status, build_sandbox
from src.sandbox.pool import WorkerPool

Done = queue.SimpleQueue[tuple[SoakProgram, Future[ExecutionResult]]]

GROWTH_MB = 20.0  # of a worker, or of the caller
FALSE_TIMEOUTS = 0.01  # of the honest programs
_SETTLE_SECONDS = 5.0
_MOST_FAULTS = 50  # that are described


@dataclass
class Counts:
    """Results so far."""

    by_kind: collections.Counter[str] = field(default_factory=collections.Counter)
    by_status: collections.Counter[str] = field(default_factory=collections.Counter)
    false_timeouts: collections.Counter[str] = field(default_factory=collections.Counter)
    honest: int = 0
    faulty: int = 0
    faults: list[str] = field(default_factory=list)

    def add(self, program: SoakProgram, result: ExecutionResult) -> None:
        """Judge one result."""
        self.by_kind[program.kind] += 1
        self.by_status[result.status] += 1
        self.honest += not program.hostile
        self.false_timeouts[program.kind] += program.late(result)
        if fault := program.fault(result):
            self.faulty += 1
            if len(self.faults) < _MOST_FAULTS:
                self.faults.append(f"{program.kind} {program.token}: {fault}")


def state(sandbox: WorkerPool, executions: int, seconds: float) -> dict[str, Any]:
    """The pool and this process, while nothing runs."""
    pids = sandbox.pids()
    cores = workers(pids)
    remains = [leftovers(pid) for pid in cores]
    found = [memory(pid) for pid in cores]
    return {
        "executions": executions,
        "seconds": seconds,
        "processes": len(below(pids)),
        "descriptors": descriptors(),
        "files": None if None in remains else sum(count or 0 for count in remains),
        "worker_rss_mb": max(numbers.get("rss", 0.0) for numbers in found),
        "worker_pss_mb": max((numbers["pss"] for numbers in found if "pss" in numbers), default=None),
        "caller_rss_mb": memory(os.getpid())["rss"],
    }


def rest(sandbox: WorkerPool, like: dict[str, Any] | None, executions: int, seconds: float) -> dict[str, Any]:
    """The state once it has settled: with as many processes as ``like``, or after a while."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        time.sleep(0.05)
        now = state(sandbox, executions, seconds)
        settled = like is not None and all(now[key] == like[key] for key in ("processes", "files"))
        if settled or time.monotonic() > deadline:
            return now


def _note(done: Done, program: SoakProgram, future: Future[ExecutionResult]) -> None:
    done.put((program, future))


def run(
    sandbox: Sandbox,
    make_program: Callable[[], SoakProgram],
    count: int,
    in_flight: int,
    names: list[str],
    counts: Counts,
) -> None:
    """Run ``count`` programs, at most ``in_flight`` at a time, by turns for the trajectories ``names``."""
    done: Done = queue.SimpleQueue()
    submitted = 0
    for finished in range(count):
        while submitted < count and submitted - finished < in_flight:
            program = make_program()
            future = sandbox.submit(program.code, trajectory=names[submitted % len(names)])
            future.add_done_callback(partial(_note, done, program))
            submitted += 1
        program, future = done.get(timeout=120)  # queue.Empty: something was lost
        counts.add(program, future.result())


def violations(
    counts: Counts, samples: list[dict[str, Any]], after: dict[str, Any], stats: dict[str, float]
) -> list[str]:
    """Return all violations."""
    first, last = samples[0], samples[-1]
    found = list(counts.faults)
    if counts.faulty > len(found):
        found.append(f"... and {counts.faulty - len(found)} more such results")
    if counts.by_status[Status.INFRASTRUCTURE]:
        found.append(f"{counts.by_status[Status.INFRASTRUCTURE]} infrastructure failures")
    if stats["restarts"]:
        found.append(f"{stats['restarts']:.0f} workers had to be replaced")
    late = counts.false_timeouts.total()
    if late > FALSE_TIMEOUTS * counts.honest:
        found.append(f"{late} of {counts.honest} honest programs were timed out")
    for what in ("processes", "descriptors"):
        if last[what] > first[what]:
            found.append(f"{what}: {last[what]} at the end, {first[what]} at the start")
    if last["files"]:
        found.append(f"{last['files']} files left in the programs' folders")
    for what in ("worker_rss_mb", "caller_rss_mb"):
        if last[what] - first[what] > GROWTH_MB:
            found.append(f"{what} grew by {last[what] - first[what]:.1f} MB; the most is {GROWTH_MB:g}")
    for what in ("processes", "descriptors", "folders"):
        if after[what] > after[f"{what}_before"]:
            found.append(f"after closing: {what} {after[what]}, before starting {after[f'{what}_before']}")
    return found


def outside() -> dict[str, int]:
    """What is there of this process when it has no pool: processes below it, descriptors, scratch folders."""
    folders = [glob.glob(f"{place}/sandbox-*") for place in {"/dev/shm", tempfile.gettempdir()}]
    return {
        "processes": len(below([os.getpid()])) - 1,
        "descriptors": descriptors(),
        "folders": sum(map(len, folders)),
    }


def main() -> int:
    """Run it; 0 if nothing was violated."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jail", default="auto")
    parser.add_argument("--workers", type=int, default=0, help="0: one per core")
    parser.add_argument("--executions", type=int, default=200_000)
    parser.add_argument("--hostile", type=float, default=0.05, help="share of hostile programs")
    parser.add_argument("--wall", type=float, default=0.2, help="seconds per program")
    parser.add_argument("--memory-mb", type=int, default=128)
    parser.add_argument("--trajectories", type=int, default=256)
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/soak"))
    arguments = parser.parse_args()

    make_program = partial(make, random.Random(arguments.seed), arguments.hostile)
    counts = Counts()
    names = [f"trajectory-{index}" for index in range(arguments.trajectories)]
    cfg = SandboxConfig(
        jail=arguments.jail,
        workers=arguments.workers,
        wall_seconds=arguments.wall,
        cpu_seconds=arguments.wall,
        memory_mb=arguments.memory_mb,
    )
    before = outside()
    samples: list[dict[str, Any]] = []
    with build_sandbox(cfg) as sandbox:
        assert isinstance(sandbox, WorkerPool)
        jail, size = sandbox.jail, sandbox.workers
        run(sandbox, make_program, 500, arguments.in_flight, names, Counts())
        samples.append(rest(sandbox, None, 0, 0.0))
        start, busy, done = time.monotonic(), 0.0, 0
        with progress() as bar:
            shown = bar.add_task(f"soak in {jail}", total=arguments.executions)
            while done < arguments.executions:
                count = min(max(arguments.executions // arguments.samples, 1), arguments.executions - done)
                began = time.monotonic()
                run(sandbox, make_program, count, arguments.in_flight, names, counts)
                took = time.monotonic() - began
                done, busy = done + count, busy + took
                samples.append(rest(sandbox, samples[0], done, time.monotonic() - start))
                samples[-1]["per_second"] = count / took
                bar.update(shown, completed=done)
        stats = sandbox.stats()
    after = outside()
    after |= {f"{name}_before": number for name, number in before.items()}
    problems = violations(counts, samples, after, stats)
    first, last = samples[0], samples[-1]
    summary: dict[str, Any] = {
        **made_on(),
        "settings": {**vars(arguments), "out": str(arguments.out), "jail": jail, "workers": size},
        "sandbox": asdict(cfg),
        "executions": done,
        "answered": counts.by_kind.total(),
        "per_second": done / busy,
        "by_status": dict(counts.by_status),
        "by_kind": dict(sorted(counts.by_kind.items())),
        "honest": counts.honest,
        "false_timeouts": {kind: count for kind, count in counts.false_timeouts.items() if count},
        "growth": {
            key: last[key] - first[key] for key in first if key.endswith("_mb") and first[key] is not None
        },
        "after_closing": after,
        "violations": problems,
        "samples": samples,
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "soak.json").write_text(json.dumps(summary, indent=2) + "\n")
    soak_figure(summary, arguments.out / "soak")
    console.print(
        f"{done} executions in {jail}, {size} workers: {summary['per_second']:.0f}/s; "
        f"{sum(summary['false_timeouts'].values())} false timeouts of {counts.honest} honest programs; "
        f"growth {', '.join(f'{key} {value:+.1f}' for key, value in summary['growth'].items())}"
    )
    for problem in problems:
        console.print(f"VIOLATION: {problem}", markup=False)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
