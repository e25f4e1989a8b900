"""``python -m experiments.evaluation.interrupted FOLDER``: does an interruption change an evaluation?

The same evaluation runs uninterrupted, and killed (kill -9) at random moments and resumed; then trajectories
are compared one by one. Further arguments are overrides of ``src.evaluate``. A probability's last bits depend
on the batch in which it was computed: a sample at the boundary between two tokens may go either way.

Exits with code 1 if the interval of the difference of accuracies reaches 3 points, or if fewer trajectories
than ``--equal`` are the same.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from scipy.stats import bootstrap

from src.config.paths import ROOT
from src.run.records import RECORDS, SUMMARY, TrajectoryRecord, iter_records

Key = tuple[str, str, int]


def start(folder: Path, overrides: list[str]) -> subprocess.Popen[bytes]:
    """Start or resume the evaluation in ``folder``."""
    command = [
        sys.executable,
        "-m",
        "src.evaluate",
        "evaluate.resume=true",
        f"hydra.run.dir={folder}",
        *overrides,
    ]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)


def finish(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait for its end. Raises RuntimeError if it failed."""
    if process.wait() != 0:
        raise RuntimeError(f"the evaluation failed; {folder / 'log.txt'} ends in:\n{tail(folder)}")


def tail(folder: Path) -> str:
    """Return the end of its log."""
    return (folder / "log.txt").read_text(errors="replace")[-2000:]


def kill_at(process: subprocess.Popen[bytes], folder: Path, size: int) -> None:
    """Kill the evaluation, and what it started, once its records have ``size`` bytes."""
    records = folder / RECORDS
    while not (records.exists() and records.stat().st_size >= size):
        if process.poll() is not None:
            raise RuntimeError(f"it ended before its kill at {size} bytes of records:\n{tail(folder)}")
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def read(folder: Path) -> dict[Key, TrajectoryRecord]:
    """Return the trajectories. Raises RuntimeError if one is repeated."""
    found: dict[Key, TrajectoryRecord] = {}
    for record in iter_records(folder / RECORDS):
        key = (record.mode, record.problem_id, record.sample)
        if key in found:
            raise RuntimeError(f"{folder}: {key} was recorded twice")
        found[key] = record
    return found


def main() -> None:
    """Parse the arguments, run, compare, exit."""
    parser = argparse.ArgumentParser(description="a whole evaluation against an interrupted one")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--equal", type=float, default=1.0, help="least share of equal trajectories")
    arguments, overrides = parser.parse_known_args()
    whole, interrupted = arguments.folder / "whole", arguments.folder / "interrupted"
    finish(start(whole, overrides), whole)
    size = (whole / RECORDS).stat().st_size
    draw = random.Random(arguments.seed)
    for moment in sorted(draw.uniform(0.02, 0.9) for _ in range(arguments.kills)):
        kill_at(start(interrupted, overrides), interrupted, int(moment * size))
        print(f"killed with {len(read(interrupted))} trajectories recorded")
        if (interrupted / SUMMARY).exists():
            sys.exit("it was over before its last kill: give more problems")
    finish(start(interrupted, overrides), interrupted)
    sys.exit(not same(read(whole), read(interrupted), arguments.equal))


def same(whole: dict[Key, TrajectoryRecord], other: dict[Key, TrajectoryRecord], least: float) -> bool:
    """Say how two evaluations compare, and whether they are the same one."""
    if whole.keys() != other.keys():
        print(f"{len(whole.keys() ^ other.keys())} trajectories are in one of the two alone")
        return False
    equal = np.mean([_said(whole[key]) == _said(other[key]) for key in whole])
    for name, records in (("whole", whole), ("interrupted", other)):
        accuracy = np.mean([record.correct for record in records.values()])
        code = np.mean([bool(record.executions) for record in records.values()])
        print(f"{name}: {len(records)} trajectories, accuracy {accuracy:.4f}, with code {code:.4f}")
    by_problem: dict[str, list[float]] = {}
    for key, record in whole.items():
        by_problem.setdefault(record.problem_id, []).append(float(other[key].correct) - float(record.correct))
    differences = np.array([np.mean(values) for values in by_problem.values()])
    low = high = difference = float(differences.mean())
    if np.ptp(differences):
        found = bootstrap((differences,), np.mean, method="percentile", rng=0).confidence_interval
        low, high = float(found.low), float(found.high)
    print(
        f"equal trajectories: {equal:.4f}; difference of accuracy {difference:+.4f} [{low:+.4f}, {high:+.4f}]"
    )
    return bool(equal >= least and max(abs(low), abs(high)) < 0.03)


def _said(record: TrajectoryRecord) -> list[tuple[str, str, int]]:
    """Return the segments without their times."""
    return [(one.author, one.text, one.tokens) for one in record.segments]


if __name__ == "__main__":
    main()
