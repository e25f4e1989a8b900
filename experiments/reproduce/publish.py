"""Copies of the small results of experiments, to be kept with the code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from experiments.reproduce.config import Experiment, SuiteConfig
from experiments.reproduce.folder import SUMMARY, Durations, Folder
from experiments.reproduce.plan import EVALUATE, TRAIN, Plan
from experiments.reproduce.run import cores
from src.records import write_json

NOTE = "reproduce.json"
_SMALL = ("*.json", "*.png", "*.svg", "verdicts.csv")


def publish(
    plan: Plan, experiments: list[Experiment], suite: SuiteConfig, folder: Folder, durations: Durations
) -> list[Path]:
    """Put each analysis into ``experiments/NAME/result/ANALYSIS``, in place of what is there."""
    made = []
    for experiment in experiments:
        result = experiment.folder / "result"
        for name in experiment.cfg.analyses:
            source, target = folder.path / experiment.name / name, result / name
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            for pattern in _SMALL:
                for path in sorted(source.glob(pattern)):
                    shutil.copyfile(path, target / path.name)
            made.append(target)
        commits = {
            json.loads((folder.of(one) / SUMMARY).read_text())["settings"]["commit"]
            for one in plan.commands.values()
            if one.kind in (TRAIN, EVALUATE)
        }
        write_json(
            result / NOTE,
            {
                "suite": suite.name,
                "seeds": suite.seeds,
                "commits": sorted(map(str, commits)),
                "commands": len(plan.commands),
                "command_hours": round(sum(durations.commands.values()) / 3600, 3),
                "hours": round(durations.runner / 3600, 3),
                "attempts": durations.attempts,
                "cores": cores(),
            },
        )
    return made
