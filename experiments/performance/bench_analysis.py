"""``python -m experiments.performance.bench_analysis``: seconds and memory of the analyses on many records.

Synthetic records of 100 problems x 1,024 samples x 4 arms, with texts. First the table alone, from the
records and from its cache; then each analysis as its user would run it, as a command, start-up included.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from experiments.analysis.synthetic import write
from experiments.performance.result import end, write_result
from src.run.console import console, progress
from src.run.provenance import commit

LOAD = """
import sys
from analysis.data import load_arms
print(load_arms({"base": sys.argv[1], "rl": sys.argv[2]}).height)
"""
SCRIPTS = ("pass_at_k", "token_efficiency", "subjects", "error_feedback", "compare")
TARGETS = {"first load": 15.0, "cached load": 2.0, **dict.fromkeys(SCRIPTS, 5.0)}  # seconds
MEMORY = 4096.0  # MiB


def timed(arguments: list[str]) -> dict[str, float]:
    """Run a command; return its wall seconds and the peak of its resident memory in MiB."""
    began = time.perf_counter()
    pid = os.posix_spawn(sys.executable, [sys.executable, *arguments], os.environ)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"python {' '.join(arguments)} failed")
    return {"seconds": time.perf_counter() - began, "peak_mb": usage.ru_maxrss / 1024}


def measure(folder: Path, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Return every measure, a value per round; the first load is from the records in every round."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in TARGETS}
    sources = [str(folder / name) for name in ("base", "rl")]
    with progress() as bar:
        task = bar.add_task("analyses", total=rounds * len(found))
        for _ in range(rounds):
            for cache in folder.glob("*/.cache/*.parquet"):
                cache.unlink()
            for name in ("first load", "cached load"):
                found[name].append(timed(["-c", LOAD, *sources]))
                bar.advance(task)
            for name in SCRIPTS:
                policies = f"policies={{base:{sources[0]},rl:{sources[1]}}}"
                out = f"hydra.run.dir={folder}/out/{name}"
                found[name].append(timed(["-m", f"analysis.{name}", policies, out]))
                bar.advance(task)
    return found


def missed(found: dict[str, list[dict[str, float]]]) -> list[str]:
    """Return the targets that the best round misses: the machine's pace only ever adds."""
    faults = []
    for name, rounds in found.items():
        seconds = min(one["seconds"] for one in rounds)
        if seconds > TARGETS[name]:
            faults.append(f"{name}: {seconds:.1f} s, more than {TARGETS[name]:.0f}")
        memory = max(one["peak_mb"] for one in rounds)
        if memory > MEMORY:
            faults.append(f"{name}: {memory:.0f} MiB at most, more than {MEMORY:.0f}")
    return faults


def main() -> None:
    """Make the records, measure, write; exit code 1 if a target is missed."""
    parser = argparse.ArgumentParser(description="speed of the analyses")
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("experiments/performance/analysis.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, arguments.problems, arguments.samples)
        size = sum(path.stat().st_size for path in folder.glob("*/*.jsonl"))
        found = measure(folder, arguments.rounds)
    result: dict[str, Any] = {
        "commit": commit(), "problems": arguments.problems, "samples": arguments.samples, "bytes": size,
        "measured": found, "missed": missed(found),
    }  # fmt: skip
    write_result(result, arguments.out)
    for name, rounds in found.items():
        seconds = ", ".join(f"{one['seconds']:.1f}" for one in rounds)
        console.print(f"{name}: {seconds} s, at most {max(one['peak_mb'] for one in rounds):,.0f} MiB")
    end(result)


if __name__ == "__main__":
    main()
