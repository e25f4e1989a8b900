"""Latency of fifty trajectories with and without one that attacks, in the same pool.

    python -m experiments.performance.bench_neighbours --jails bubblewrap sandlock

Each innocent trajectory submits its next program when it has the result of the one before; so does the
attacker, which sends the same attack again and again. Calm and attacked rounds alternate, and each attacked
round is compared with the calm one just before it. Writes neighbours.json to ``--out``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table

from experiments.performance.load import Load, share
from experiments.sandbox.processes import made_on
from src.config import SandboxConfig
from src.run.console import console
from src.sandbox import Sandbox, build_sandbox

ATTACKS = {
    "endless": "while True: pass",
    "busy threads": "import threading\ndef spin():\n    while True: pass\n"
    "for _ in range(12): threading.Thread(target=spin).start()",
    "memory": "kept = []\nwhile True: kept.append(bytes(10**6))",
    "files": "i = 0\nwhile True:\n    open(str(i), 'wb').write(bytes(10**5)); i += 1",
    "output": "while True: print('a' * 10**4)",
    "threads": "import _thread, threading, time\nthreading.stack_size(32768)\n"
    "while True: _thread.start_new_thread(time.sleep, (60,))",
    "deaths": "import os\nos.kill(os.getpid(), 9)",
}
_PROGRAM = "print(sum(range(10**5)))"
_ANSWER = "4999950000\n"


def innocent_round(sandbox: Sandbox, trajectories: int, programs: int, attack: str | None) -> Load:
    """Latencies of all innocent programs; ``attack``: what another trajectory runs as long as they do."""
    load, lock, over = Load(), threading.Lock(), threading.Event()

    def innocent(name: str) -> None:
        for _ in range(programs):
            began = time.perf_counter()
            result = sandbox.run(_PROGRAM, trajectory=name)
            latency = time.perf_counter() - began
            with lock:
                load.latencies.append(latency)
                load.statuses["right" if result.stdout == _ANSWER else f"wrong, {result.status}"] += 1
        sandbox.end(name)

    def attacker(code: str) -> None:
        while not over.is_set():
            sandbox.run(code, trajectory="hostile")
        sandbox.end("hostile")

    hostile = [threading.Thread(target=attacker, args=(attack,))] if attack is not None else []
    modest = [threading.Thread(target=innocent, args=(str(number),)) for number in range(trajectories)]
    began = time.perf_counter()
    for thread in (*hostile, *modest):
        thread.start()
    for thread in modest:
        thread.join()
    load.seconds = time.perf_counter() - began
    over.set()
    for thread in hostile:
        thread.join()
    return load


def measure(jail: str, arguments: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """For each attack, over the rounds: milliseconds at p95 calm and attacked, their ratio, wrong results."""
    found: dict[str, dict[str, list[float]]] = {}
    cfg = SandboxConfig(
        jail=jail, workers=arguments.workers, state=arguments.state, warm=[], wall_seconds=2, cpu_seconds=1
    )
    with build_sandbox(cfg) as sandbox:
        for _ in range(arguments.rounds):
            for name, code in ATTACKS.items():
                calm, attacked = (
                    innocent_round(sandbox, arguments.trajectories, arguments.programs, attack)
                    for attack in (None, code)
                )
                before, during = share(calm.latencies, 0.95), share(attacked.latencies, 0.95)
                rows = found.setdefault(name, {"calm": [], "attacked": [], "ratio": [], "wrong": []})
                rows["calm"].append(1000 * before)
                rows["attacked"].append(1000 * during)
                rows["ratio"].append(during / before)
                rows["wrong"].append(
                    sum(count for load in (calm, attacked) for status, count in load.statuses.items())
                    - calm.statuses["right"]
                    - attacked.statuses["right"]
                )
    return found


def main() -> int:
    """Run it; 1 if an innocent program got a wrong result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jails", nargs="+", default=["bubblewrap", "sandlock"])
    parser.add_argument("--state", default="fresh", choices=("fresh", "replay", "session"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--trajectories", type=int, default=50)
    parser.add_argument("--programs", type=int, default=12, help="of each trajectory, in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("experiments/performance/neighbours"))
    arguments = parser.parse_args()

    results = {jail: measure(jail, arguments) for jail in arguments.jails}
    title = f"p95 of {arguments.trajectories} trajectories, medians of the rounds"
    shown = Table(
        "jail", "attack", "calm, ms", "attacked, ms", "ratio", "wrong", box=SIMPLE_HEAD, title=title
    )
    for jail, found in results.items():
        for name, rows in found.items():
            middle = {key: statistics.median(values) for key, values in rows.items()}
            ratio = f"{middle['ratio']:.2f} ({min(rows['ratio']):.2f}-{max(rows['ratio']):.2f})"
            calm, attacked = (f"{middle[key]:.0f}" for key in ("calm", "attacked"))
            shown.add_row(jail, name, calm, attacked, ratio, f"{sum(rows['wrong']):.0f}")
    console.print(shown)
    arguments.out.mkdir(parents=True, exist_ok=True)
    settings = {key: value for key, value in vars(arguments).items() if key != "out"}
    summary = {**made_on(), "settings": settings, "rounds": results}
    (arguments.out / "neighbours.json").write_text(json.dumps(summary, indent=2) + "\n")
    return int(any(sum(rows["wrong"]) for found in results.values() for rows in found.values()))


if __name__ == "__main__":
    sys.exit(main())
