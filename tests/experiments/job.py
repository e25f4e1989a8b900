"""A small plan of stand-ins, and the program that runs it: ``job.py FOLDER JOBS SECONDS``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from experiments.reproduce.folder import DURATIONS, Durations, Folder
from experiments.reproduce.plan import ANALYSIS, EVALUATE, REPORT, TRAIN, Command, CommandPlan
from experiments.reproduce.run import Runner


def command(name: str, *arguments: object, needs: tuple[str, ...] = ()) -> Command:
    kind = {"train": TRAIN, "evaluate": EVALUATE, "report": REPORT}.get(name.partition("/")[0], ANALYSIS)
    about = {"title": name, "question": "?", "claim": "!"} if kind == ANALYSIS else None
    return Command(
        name, kind, kind, "tests.experiments.stand_in", tuple(map(str, arguments)), needs, about=about
    )


def plan(seconds: float) -> CommandPlan:
    """Three trainings, an evaluation of the last of them, an analysis of that, and the report."""
    commands = [command(f"train/{name}", seconds) for name in "abc"]
    commands += [
        command("evaluate/c-free", seconds, needs=("train/c",)),
        command("first/ablation", seconds, needs=("train/a", "train/b")),
        command("second/pass_at_k", seconds, needs=("evaluate/c-free",)),
        command("report", seconds, needs=("first/ablation", "second/pass_at_k")),
    ]
    return CommandPlan({one.name: one for one in commands})


def run(folder: Path, what: CommandPlan, jobs: int) -> None:
    """As the program does, once everything is checked."""
    with Folder(folder) as held:
        Runner(what, held, Durations(folder / DURATIONS), jobs).run()


def starts(folder: Path) -> dict[str, int]:
    """How often each command was started, in the order of first starts."""
    return {
        name: one["starts"] for name, one in json.loads((folder / DURATIONS).read_text())["commands"].items()
    }


if __name__ == "__main__":
    run(Path(sys.argv[1]), plan(float(sys.argv[3])), int(sys.argv[2]))
