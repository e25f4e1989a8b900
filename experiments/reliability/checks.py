"""What must hold at the end of a run that was disturbed, compared with one that was not."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from experiments.reliability.runs import DisturbedRun, command_line, wait_until
from experiments.repeatable.check import compare
from src.run import checkpoints
from src.run.records import RecordError, read_metrics, read_records
from src.sandbox.jails.scratch import sweep

_SETTLING = 15.0  # seconds for processes to end; left-over folders are swept when they are older than 10


def violations(run: DisturbedRun, calm: Path) -> list[str]:
    """Return what does not hold of a finished run."""
    found = consumed_once(run.folder, calm) + same_checkpoint(run.folder, calm)
    found += same_weights(run.folder, calm) if run.subject.exact and not found else []
    if run.subject.exact and not found:
        found += same_trajectories(run.folder, calm)
    return found + left_over(run)


def consumed_once(folder: Path, calm: Path) -> list[str]:
    """Every problem of every step was consumed exactly as often as in the calm run, and each step once."""
    try:
        ours, theirs = consumed(folder), consumed(calm)
        steps, expected = steps_of(folder), steps_of(calm)
    except (OSError, RecordError) as error:
        return [f"the records cannot be read: {error}"]
    found = []
    if ours != theirs:
        (place, count), *_ = sorted(((ours - theirs) + (theirs - ours)).items())
        found.append(
            f"{place} was consumed {ours[place]} times, in the calm run {theirs[place]} ({count} differ)"
        )
    if steps != expected:
        found.append(f"the steps in metrics.jsonl are {steps}, in the calm run {expected}")
    return found


def steps_of(folder: Path) -> list[int]:
    """Return the steps of its metrics; an evaluation has none."""
    metrics = folder / "metrics.jsonl"
    return [row["step"] for row in read_metrics(metrics)] if metrics.exists() else []


def consumed(folder: Path) -> Counter[tuple[Any, ...]]:
    """Return how often each sample of each problem of each step counts."""
    records = read_records(folder / "trajectories.jsonl")
    return Counter((one.phase, one.step, one.mode, one.problem_id, one.sample) for one in records)


def same_checkpoint(folder: Path, calm: Path) -> list[str]:
    """The last checkpoint is that of the same step as in the calm run."""
    ours, theirs = ([one.name for one in _last(folder)], [one.name for one in _last(calm)])
    return [] if ours == theirs else [f"the last checkpoint is {ours}, not {theirs}"]


def same_weights(folder: Path, calm: Path) -> list[str]:
    """The weights of the last checkpoint are those of the calm run, bit for bit."""
    first, second = (load_file(_last(one)[0] / "model.safetensors") for one in (folder, calm))
    unlike = [name for name in second if not np.array_equal(first[name], second[name])]
    if not unlike:
        return []
    return [f"{len(unlike)} of {len(second)} weights differ from the calm run's: {unlike[0]}"]


def _last(folder: Path) -> list[Path]:
    return checkpoints.complete(folder / "checkpoints")[-1:]


def same_trajectories(folder: Path, calm: Path) -> list[str]:
    """Every trajectory and every metric is that of the calm run."""
    _text, difference = compare(folder, calm)
    return [f"a difference to the calm run: {difference}"] if difference else []


def left_over(run: DisturbedRun) -> list[str]:
    """No process is left, nor a folder in memory once the next sandbox has been started."""
    wait_until(lambda: not run.alive(), _SETTLING)
    found = [f"process {pid} is left: {command_line(pid)[:200]}" for pid, _started in run.alive()]
    if run.subject.docker:
        wait_until(lambda: not run.containers(), _SETTLING)
        found += [f"container {name} is left" for name, _pid in run.containers()]
    wait_until(lambda: not folders(run) or bool(sweep("/dev/shm")), _SETTLING)
    return found + [f"{name} is left in /dev/shm" for name in folders(run)]


def folders(run: DisturbedRun) -> list[str]:
    """Return the folders of its sandboxes that are in memory."""
    owners = {str(pid) for pid, _started in run.seen}
    return [
        name
        for name in os.listdir("/dev/shm")
        if name.startswith("sandbox-") and name.split("-")[1] in owners
    ]
