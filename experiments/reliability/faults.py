"""What can happen to a run. Each fault is applied to a run that goes on, and undone where it does not end."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from experiments.reliability.runs import DisturbedRun, remount
from src.run import checkpoints

_PAUSE = 2.0  # seconds for which a process is stopped: less than any time limit
_FULL, _SLOW_SECONDS, _SLOW = (
    8.0,
    4.0,
    0.2,
)  # seconds of a full disk, of a slow one, and of one slow operation
_JUMPS = (-86400.0, -3600.0, 60.0, 86400.0)  # seconds
_HOG_BYTES = 6 << 30


@dataclass(frozen=True)
class Fault:
    """``apply`` returns whether there was anything to apply it to; ``ends``: the run is meant to end.

    ``server``: it needs a vLLM server.
    """

    name: str
    apply: Callable[[DisturbedRun, random.Random], bool]
    ends: bool = False
    server: bool = False


def _signal(pids: list[int], number: int, rng: random.Random) -> list[int]:
    """Send a signal to one of ``pids``, and return that one; none where there are none."""
    chosen = rng.sample(pids, 1) if pids else []
    for pid in chosen:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return []
    return chosen


def _kills(
    which: Callable[[DisturbedRun], list[int]], number: int
) -> Callable[[DisturbedRun, random.Random], bool]:
    return lambda run, rng: bool(_signal(which(run), number, rng))


def _pauses(which: Callable[[DisturbedRun], list[int]]) -> Callable[[DisturbedRun, random.Random], bool]:
    def apply(run: DisturbedRun, rng: random.Random) -> bool:
        stopped = _signal(which(run), signal.SIGSTOP, rng)
        time.sleep(_PAUSE * rng.uniform(0.3, 1.0))
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        return bool(stopped)

    return apply


def _hangs(run: DisturbedRun, rng: random.Random) -> bool:
    """A worker stops for good: it must be noticed and replaced."""
    return bool(_signal(run.inside(), signal.SIGSTOP, rng))


def _full_disk(run: DisturbedRun, rng: random.Random) -> bool:
    """Nothing more can be written, for a while or until the run ends."""
    if not run.mounted:
        return False
    ballast = run.base / "disk" / "ballast"
    until = time.monotonic() + _FULL
    while time.monotonic() < until and run.wait(0.05) is None:
        with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
            while True:  # to the last byte, and again when the run has freed some
                file.write(bytes(1 << 12))
    ballast.unlink(missing_ok=True)
    return True


def _read_only(run: DisturbedRun, rng: random.Random) -> bool:
    """The folder cannot be written; where a file is open, which the kernel then forbids, it is closed."""
    if not run.mounted:
        return False
    try:
        remount(run.base / "disk", read_only=True)
    except OSError:
        return _closed(run)
    run.wait(_FULL)
    remount(run.base / "disk", read_only=False)
    return True


def _closed(run: DisturbedRun) -> bool:
    """Instead: the folder of checkpoints is a file, so that nothing can be written there."""
    folder, aside = run.folder / "checkpoints", run.folder / "aside"
    if not folder.is_dir():
        return False
    folder.rename(aside)
    folder.write_text("")
    run.wait(_FULL)
    if folder.is_file():
        folder.unlink()
        aside.rename(folder)
    return True


def _torn(run: DisturbedRun, rng: random.Random) -> bool:
    """Killed, and what was being written is cut: a line of records, or a file of the newest checkpoint."""
    if not _signal(run.trainers(), signal.SIGKILL, rng):
        return False
    run.wait(30)
    newest = sorted((run.folder / "checkpoints").glob("step-*"))[-1:]
    if newest and rng.random() < 0.5:
        file = rng.choice(sorted(path for path in newest[0].iterdir() if path.name != checkpoints.MARK))
        os.truncate(file, int(file.stat().st_size * rng.uniform(0.0, 0.9)))
    for name in ("trajectories.jsonl", "metrics.jsonl"):
        path = run.folder / name
        if path.exists():
            with path.open("ab") as records:
                records.write(b'{"phase": "train", "step": 1, "problem_id": "x')
    return True


def _file_for(name: str, value: float, seconds: float) -> Callable[[DisturbedRun, random.Random], bool]:
    def apply(run: DisturbedRun, rng: random.Random) -> bool:
        setting: Path = run.hooks / name
        setting.write_text(str(rng.choice(_JUMPS) if name == "clock" else value))
        if seconds:
            run.wait(seconds)
            setting.unlink()
        return True

    return apply


def _hog(run: DisturbedRun, rng: random.Random) -> bool:
    """Half of the free memory is taken, for a while."""
    with open("/proc/meminfo") as file:
        free = next(int(line.split()[1]) << 10 for line in file if line.startswith("MemAvailable"))
    taken = bytearray(min(free // 2, _HOG_BYTES))
    taken[::4096] = b"x" * len(range(0, len(taken), 4096))
    run.wait(_PAUSE)
    return True


FAULTS = {
    one.name: one
    for one in (
        Fault("kill -9 trainer", _kills(DisturbedRun.trainers, signal.SIGKILL), ends=True),
        Fault("SIGTERM trainer", _kills(DisturbedRun.trainers, signal.SIGTERM), ends=True),
        Fault("SIGINT trainer", _kills(DisturbedRun.trainers, signal.SIGINT), ends=True),
        Fault("stop trainer", _pauses(DisturbedRun.trainers)),
        Fault("kill -9 worker", _kills(DisturbedRun.workers, signal.SIGKILL)),
        Fault("SIGTERM worker", _kills(DisturbedRun.workers, signal.SIGTERM)),
        Fault("stop worker", _pauses(DisturbedRun.workers)),
        Fault("kill -9 inside a sandbox", _kills(DisturbedRun.inside, signal.SIGKILL)),
        Fault("hang inside a sandbox", _hangs),
        Fault("kill -9 grader", _kills(DisturbedRun.graders, signal.SIGKILL)),
        Fault("stop grader", _pauses(DisturbedRun.graders)),
        Fault("full disk", _full_disk),
        Fault("read-only folder", _read_only),
        Fault("torn files", _torn, ends=True),
        Fault("clock jump", _file_for("clock", 0.0, 0.0)),
        Fault("slow disk", _file_for("slow", _SLOW, _SLOW_SECONDS)),
        Fault("half the memory", _hog),
        Fault("kill -9 server", _kills(DisturbedRun.servers, signal.SIGKILL), ends=True, server=True),
        Fault("SIGTERM server", _kills(DisturbedRun.servers, signal.SIGTERM), ends=True, server=True),
        Fault("stop server", _pauses(DisturbedRun.servers), server=True),
    )
}
