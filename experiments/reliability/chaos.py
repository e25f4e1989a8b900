"""``python -m experiments.reliability.chaos``: whole runs of mini_debug sizes under random faults.

Every run of a campaign is disturbed by one to four faults at random moments, is resumed by one command where
it has ended, and must then be what the calm run is (checks.py). One line per run goes to ``campaign.jsonl``
in the campaign's folder; a killed campaign goes on where it was with the same command. ``--seed`` repeats
one. Exits with code 1 if anything does not hold, and prints how to repeat that run alone.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from experiments.reliability.checks import violations
from experiments.reliability.faults import FAULTS
from experiments.reliability.runs import SUBJECTS, DisturbedRun, Subject, mount, unmount
from experiments.reliability.server import Server
from src.config import SandboxConfig
from src.config.paths import ROOT
from src.run.console import console, progress
from src.sandbox.jails.docker import Docker

RESULTS = "campaign.jsonl"
_MOST_FAULTS = 4
_EARLIEST = 1.0  # seconds after the start of a process
_LONGEST = 900.0  # seconds of one process of a run
_SHARES = {"transformers": 5, "sandlock": 2, "two": 2, "docker": 1, "vllm": 1, "server": 2}
_SERVER_PORT = 29990
_NEEDS_MOUNT = ("full disk", "read-only folder")


@dataclass(frozen=True)
class Planned:
    """One run: its faults, and when each comes after the one before, as shares of the calm run's time."""

    number: int
    subject: str
    faults: tuple[str, ...]
    moments: tuple[float, ...]


def plan(seed: int, subjects: list[str], kinds: list[str]) -> Iterator[Planned]:
    """Yield the runs of a campaign, without end; the same for the same arguments."""
    rng = random.Random(seed)
    shares = [_SHARES[name] for name in subjects]
    deck: list[str] = []  # every kind comes before one comes again
    for number in count():
        subject = subjects[number] if number < len(subjects) else rng.choices(subjects, shares)[0]
        chosen = []
        for _ in range(rng.randint(1, _MOST_FAULTS)):
            if not deck:
                deck = rng.sample(kinds, len(kinds))
            chosen.append(deck.pop())
        moments = tuple(round(rng.uniform(0.0, 0.3 if place else 0.8), 4) for place in range(len(chosen)))
        yield Planned(number, subject, tuple(chosen), moments)


def disturb(
    planned: Planned, base: Path, calm: Path, seconds: float, seed: int, server: Server | None = None
) -> dict[str, Any]:
    """Make one run; return its faults with their outcomes, and what does not hold.

    Outcomes: ``went on`` by itself, ``resumed`` by one command, ``violation``, or ``not reached``, if the run
    had ended or had nothing to apply the fault to.
    """
    began, rng = time.monotonic(), random.Random(f"{seed} {planned.number}")
    run = DisturbedRun(SUBJECTS[planned.subject], base, _port(planned.number), server)
    outcomes: list[str] = []
    found: list[str] = []
    try:
        run.start()
        code: int | None = None
        disturbed = False  # since it was started
        for name, moment in zip(planned.faults, planned.moments, strict=True):
            code = run.wait(_EARLIEST + moment * seconds)
            if code is not None or not FAULTS[name].apply(run, rng):
                outcomes.append("not reached")
            else:
                # what is meant to end it ends it soon; other faults may, too
                code = run.wait(120.0 if FAULTS[name].ends else 1.0)
                outcomes.append("went on" if code in (None, 0) else "resumed")
                disturbed = True
            if code:
                if not disturbed:
                    break
                if run.finished():  # it was killed on its way out
                    outcomes[-1], code = "went on", 0
                    break
                run.start()
                code, disturbed = None, False
        outcomes += ["not reached"] * (len(planned.faults) - len(outcomes))
        if code is None and (code := run.wait(_LONGEST)) is None:
            found.append(f"it did not end within {_LONGEST:.0f} s")
            run.kill()
        elif code and not disturbed:
            found.append(f"it ended with code {code} where nothing disturbed it: {_tail(run.log)}")
        elif code:  # a fault whose effect came later
            outcomes = ["resumed" if one == "went on" else one for one in outcomes]
            run.start()
            if (code := run.wait(_LONGEST)) != 0:
                found.append(f"resumed, it ended with code {code}: {_tail(run.log)}")
        found += [] if found else violations(run, calm)
    finally:
        if found:
            shutil.copy(run.log, base.parent / f"failed-{planned.number}.log")
        run.close()
    if found:
        outcomes = ["violation" if one != "not reached" else one for one in outcomes]
    return {
        **asdict(planned),
        "outcomes": outcomes,
        "violations": found,
        "seconds": round(time.monotonic() - began, 1),
        "calm_seconds": round(seconds, 1),
    }


def calm_run(subject: Subject, folder: Path, server: Server | None = None) -> tuple[Path, float]:
    """Return the folder of an undisturbed run of ``subject``, made if there is none, and its seconds."""
    time_file = folder / "seconds"
    if not time_file.exists():
        unmount(folder / "work" / "disk")  # of a campaign that was killed
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "work").mkdir(parents=True)
        run = DisturbedRun(subject, folder / "work", _port(0), server)
        if server is not None:
            server.ensure()
        began = time.monotonic()
        run.start()
        code = run.wait(_LONGEST)
        seconds = time.monotonic() - began
        if code != 0:
            sys.exit(f"error: the calm run of {subject.name} ended with code {code}: {_tail(run.log)}")
        shutil.copytree(run.folder, folder / "kept")
        run.close()
        time_file.write_text(str(seconds))
    return folder / "kept", float(time_file.read_text())


def _port(number: int) -> int:
    return 29500 + number % 400


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-1500:]


def possible(subjects: list[str]) -> tuple[list[str], list[str]]:
    """Return the subjects and the kinds of fault that can be had here; say which cannot."""
    reasons = {}
    if importlib.util.find_spec("vllm") is None:
        reasons |= dict.fromkeys(("vllm", "server"), "vLLM is not installed (make setup-vllm)")
    if "docker" in subjects and (problem := Docker(SandboxConfig(jail="docker")).unavailable()):
        reasons["docker"] = problem
    for name in [one for one in subjects if one in reasons]:
        console.print(f"NOT RUN: {name}: {reasons[name]}", style="yellow")
    subjects = [one for one in subjects if one not in reasons]
    served = any(SUBJECTS[one].served for one in subjects)
    kinds = [one.name for one in FAULTS.values() if served or not one.server]
    with tempfile.TemporaryDirectory() as folder:
        if mount(Path(folder)):
            unmount(Path(folder))
        else:
            missing = ", ".join(_NEEDS_MOUNT)
            console.print(f"NOT RUN: {missing}, which need root to mount a file system", style="yellow")
            kinds = [one for one in kinds if one not in _NEEDS_MOUNT]
    return subjects, kinds


def main() -> None:
    """Run the campaign, or what is left of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", type=int, default=200, help="that meet a run, at least so many")
    parser.add_argument("--subjects", default="transformers,sandlock,two", help=f"of {', '.join(SUBJECTS)}")
    parser.add_argument("--kinds", help="of faults, separated by commas; all that the subjects can have")
    parser.add_argument("--folder", type=Path, help="of the campaign; runs/chaos/SEED")
    parser.add_argument("--only", type=int, help="the number of one run")
    asked = parser.parse_args()
    unknown = set(asked.subjects.split(",")) - SUBJECTS.keys()
    if unknown:
        sys.exit(f"error: --subjects: {', '.join(sorted(unknown))}; choose from {', '.join(SUBJECTS)}")
    subjects, kinds = possible(asked.subjects.split(","))
    if not subjects:
        sys.exit("error: none of the subjects can be had here")
    if asked.kinds is not None:
        unknown = set(asked.kinds.split(",")) - set(kinds)
        if unknown:
            sys.exit(f"error: --kinds: {', '.join(sorted(unknown))}; choose from {', '.join(kinds)}")
        kinds = asked.kinds.split(",")
    folder = (asked.folder or ROOT / "runs" / "chaos" / str(asked.seed)).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    results = folder / RESULTS
    known = {} if asked.only is not None else read(results)
    served = Server(_SERVER_PORT, folder / "server.log")
    with contextlib.closing(served), progress() as bar:
        task = bar.add_task("faults", total=asked.faults, completed=applied(known.values()))
        for planned in plan(asked.seed, subjects, kinds):
            if planned.number in known and tuple(known[planned.number]["faults"]) != planned.faults:
                sys.exit(f"error: {results} is of another campaign; give another --folder, or remove it")
            if planned.number in known or asked.only not in (None, planned.number):
                continue
            if applied(known.values()) >= asked.faults or (asked.only is not None and known):
                break
            subject = SUBJECTS[planned.subject]
            server = served if subject.served else None
            calm, seconds = calm_run(subject, folder / f"calm-{planned.subject}", server)
            base = folder / f"run-{planned.number}"
            unmount(base / "disk")  # of a campaign that was killed
            shutil.rmtree(base, ignore_errors=True)
            base.mkdir()
            known[planned.number] = one = disturb(planned, base, calm, seconds, asked.seed, server)
            with results.open("a") as file:
                file.write(json.dumps(one) + "\n")
                file.flush()
                os.fsync(file.fileno())
            bar.update(task, completed=applied(known.values()))
            for text in one["violations"]:
                console.print(
                    f"run {planned.number} ({planned.subject}: {', '.join(planned.faults)}): {text}\n"
                    f"repeat it with --seed {asked.seed} --faults {asked.faults} "
                    f"--subjects {','.join(subjects)} --kinds {','.join(kinds)!r} --only {planned.number}",
                    style="red",
                    markup=False,
                )
    report(list(known.values()))
    sys.exit(int(any(one["violations"] for one in known.values())))


def read(results: Path) -> dict[int, dict[str, Any]]:
    """Return the finished runs of a campaign by number; a torn last line is left out."""
    known: dict[int, dict[str, Any]] = {}
    if results.exists():
        for line in results.read_text().splitlines():
            try:
                one = json.loads(line)
            except ValueError:
                continue
            known[one["number"]] = one
    return known


def applied(runs: Iterable[dict[str, Any]]) -> int:
    """Return how many faults met a run."""
    return sum(outcome != "not reached" for one in runs for outcome in one["outcomes"])


def report(runs: list[dict[str, Any]]) -> None:
    """Print how many faults had which outcome."""
    outcomes = Counter(outcome for one in runs for outcome in one["outcomes"])
    said = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.most_common())
    console.print(f"{len(runs)} runs, {applied(runs)} faults: {said}")


if __name__ == "__main__":
    main()
