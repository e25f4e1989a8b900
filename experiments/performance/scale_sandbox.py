"""Tens of thousands of executions queued at once from thousands of trajectories.

    python -m experiments.performance.scale_sandbox --jail bubblewrap

First the steady state: a short queue, kept full. Then everything at once, in two ways: ``queued`` submits
all of it before the first result is looked at; ``asyncio`` has one task per trajectory, each awaiting its
programs one after the other. Writes scale.json, scale.png and scale.svg to ``--out``; ends with status 1 when
an answer is missing or another's, the caller needs too much memory, or it is slower than the steady state.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.performance.figures import scale_figure
from experiments.performance.load import closed_loop
from experiments.sandbox.processes import made_on, memory
from src.config import SandboxConfig
from src.run.console import console, progress
from src.sandbox import ExecutionResult, Sandbox, Status, build_sandbox

MEMORY_MB = 1024.0
SLOWER = 0.1  # than in the steady state, at most
_TICK = 0.25


@dataclass
class Answers:
    """What has come back so far; from any thread."""

    total: int
    trajectories: int
    counts: Counter[int] = field(default_factory=Counter)  # answers by trajectory
    statuses: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    answered: int = 0
    halfway: list[int] = field(default_factory=list)  # answers of each trajectory when half were there
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, index: int, result: ExecutionResult) -> None:
        """One answer, to program ``index``."""
        with self.lock:
            self.answered += 1
            self.counts[index % self.trajectories] += 1
            self.statuses[result.status] += 1
            self.wrong += (result.status, result.stdout) != (Status.OK, f"{token(index)}\n")
            if self.answered == self.total // 2:
                self.halfway = [self.counts[who] for who in range(self.trajectories)]


def token(index: int) -> str:
    """What program ``index`` prints, and no other."""
    return f"token-{index:08d}"


def queued(sandbox: Sandbox, answers: Answers) -> None:
    """Submit everything, then wait."""
    done = threading.Semaphore(0)
    for index in range(answers.total):
        future = sandbox.submit(f"print({token(index)!r})", trajectory=f"t{index % answers.trajectories}")

        def note(future: Any, index: int = index) -> None:
            answers.add(index, future.result())
            done.release()

        future.add_done_callback(note)
    for _ in range(answers.total):
        done.acquire()


def asynchronous(sandbox: Sandbox, answers: Answers) -> None:
    """Run one task per trajectory."""

    async def trajectory(who: int) -> None:
        for index in range(who, answers.total, answers.trajectories):
            answers.add(index, await sandbox.arun(f"print({token(index)!r})", trajectory=f"t{who}"))

    async def everyone() -> None:
        await asyncio.gather(*(trajectory(who) for who in range(answers.trajectories)))

    asyncio.run(everyone())


WAYS = {"queued": queued, "asyncio": asynchronous}


def measure(way: str, sandbox: Sandbox, executions: int, trajectories: int) -> dict[str, Any]:
    """One way, watched from a thread of its own."""
    answers, points, over = Answers(executions, trajectories), [], threading.Event()
    before, start = memory(os.getpid())["rss"], time.monotonic()

    def point() -> dict[str, float]:
        rss = memory(os.getpid())["rss"]
        return {"seconds": time.monotonic() - start, "answered": answers.answered, "rss_mb": rss}

    def watch() -> None:
        with progress() as bar:
            shown = bar.add_task(f"{executions} {way}", total=executions)
            while not over.wait(_TICK):
                points.append(point())
                bar.update(shown, completed=answers.answered)
            bar.update(shown, completed=answers.answered)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        WAYS[way](sandbox, answers)
        points.append(point())
    finally:
        over.set()
        watcher.join()
    peak = max(entry["rss_mb"] for entry in points)
    return {
        "answered": answers.answered,
        "wrong": answers.wrong,
        "by_status": dict(answers.statuses),
        "per_second": executions / points[-1]["seconds"],
        "peak_mb": peak,
        "growth_mb": peak - before,
        "halfway": {"least": min(answers.halfway), "most": max(answers.halfway)},
        "points": points,
    }


def violations(ways: dict[str, dict[str, Any]], executions: int) -> list[str]:
    """Return all violations."""
    found = []
    for way, got in ways.items():
        if got["answered"] != executions or got["wrong"]:
            found.append(
                f"{way}: {got['answered']} of {executions} answered, {got['wrong']} wrong: {got['by_status']}"
            )
        if got["peak_mb"] >= MEMORY_MB:
            found.append(f"{way}: the caller took {got['peak_mb']:.0f} MB")
        if got["per_second"] < (1 - SLOWER) * got["steady_per_second"]:
            steady = f"{got['steady_per_second']:.0f}/s before and after"
            found.append(f"{way}: {got['per_second']:.0f}/s, in the steady state {steady}")
    return found


def main() -> int:
    """Run it; 0 if nothing was violated."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jail", default="auto")
    parser.add_argument("--workers", type=int, default=0, help="0: one per core")
    parser.add_argument("--executions", type=int, default=45_000)
    parser.add_argument("--trajectories", type=int, default=2_000)
    parser.add_argument("--steady", type=int, default=3_000, help="executions that show the steady state")
    parser.add_argument("--ways", nargs="+", choices=sorted(WAYS), default=list(WAYS))
    parser.add_argument("--out", type=Path, default=Path("experiments/performance/scale"))
    arguments = parser.parse_args()

    cfg = SandboxConfig(
        jail=arguments.jail,
        workers=arguments.workers,
        queue=max(arguments.executions, 1),
        deadline_seconds=24 * 3600.0,
    )
    steady: list[float] = []
    ways: dict[str, dict[str, Any]] = {}
    with build_sandbox(cfg) as sandbox:
        jail, workers = sandbox.jail, sandbox.workers

        def pace() -> float:
            return closed_loop(sandbox, lambda: "print('token')", 4 * workers, arguments.steady).per_second

        pace()  # the first executions find caches cold
        steady.append(pace())
        for way in arguments.ways:
            ways[way] = measure(way, sandbox, arguments.executions, arguments.trajectories)
            steady.append(pace())
            # a machine's speed changes within minutes: before and after have equal weight
            ways[way]["steady_per_second"] = sum(steady[-2:]) / 2
    problems = violations(ways, arguments.executions)
    summary: dict[str, Any] = {
        **made_on(),
        "settings": {**vars(arguments), "out": str(arguments.out), "jail": jail, "workers": workers},
        "steady_per_second": steady,
        "violations": problems,
        "ways": ways,
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "scale.json").write_text(json.dumps(summary, indent=2) + "\n")
    scale_figure(summary, arguments.out / "scale")
    paces = ", ".join(f"{pace:.0f}" for pace in steady)
    console.print(f"steady state in {jail}, {workers} workers: {paces} /s, before, between and after")
    for way, got in ways.items():
        console.print(
            f"{way}: {got['answered']} answered, {got['wrong']} wrong, {got['per_second']:.0f}/s; caller "
            f"at most {got['peak_mb']:.0f} MB, {got['growth_mb']:+.0f}; at half time each trajectory had "
            f"{got['halfway']['least']} to {got['halfway']['most']} answers"
        )
    for problem in problems:
        console.print(f"VIOLATION: {problem}", markup=False)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
