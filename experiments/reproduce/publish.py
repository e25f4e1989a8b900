"""Copies the small results of experiments into the repository, with a page that shows them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from analysis.data import summary_settings
from experiments.reproduce.config import Experiment, SuiteConfig
from experiments.reproduce.folder import Durations, Folder
from experiments.reproduce.plan import EVALUATE, TRAIN, CommandPlan
from experiments.reproduce.run import cores
from src.config import Config
from src.run.disk import write_json

NOTE, PAGE = "reproduce.json", "README.md"
_SMALL = ("*.json", "*.png", "*.svg", "verdicts.csv")


def publish(
    plan: CommandPlan, experiments: list[Experiment], suite: SuiteConfig, folder: Folder, durations: Durations
) -> list[Path]:
    """Copy each experiment's analyses to ``experiments/NAME/result/SUITE``, replacing its content."""
    page = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    ).get_template("page.md.jinja")
    made = []
    for experiment in experiments:
        target = experiment.folder / "result" / suite.name
        shutil.rmtree(target, ignore_errors=True)
        verdicts, figures = {}, {}
        for name in experiment.cfg.analyses:
            source, copy = folder.path / experiment.name / name, target / name
            copy.mkdir(parents=True)
            for pattern in _SMALL:
                for path in sorted(source.glob(pattern)):
                    shutil.copyfile(path, copy / path.name)
            results = json.loads((source / f"{name}.json").read_text())["results"]
            verdicts[name] = [one["sentence"] for one in results.get("verdicts", [])]
            figures[name] = [path.stem for path in sorted(copy.glob("*.png"))]
        behind = _behind(plan, experiment)
        configs = [plan.commands[name].config for name in behind]
        commits = {summary_settings(folder.path / name)["commit"] for name in behind}
        note = {
            "suite": suite.name,
            "seeds": sorted({one.trainer.seed for one in configs if isinstance(one, Config)}),
            "commits": sorted(map(str, commits)),
            "commands": len(behind),
            "hours": round(sum(durations.commands.get(name, 0.0) for name in behind) / 3600, 3),
            "hours_of_all": round(durations.runner / 3600, 3),
            "attempts": durations.attempts,
            "cores": cores(),
        }
        write_json(target / NOTE, note)
        (target / PAGE).write_text(
            page.render(
                name=experiment.name, title=experiment.title, cfg=experiment.cfg, suite=suite, note=note,
                verdicts=verdicts, figures=figures,
            ),
            encoding="utf-8",
        )  # fmt: skip
        made.append(target)
    return made


def _behind(plan: CommandPlan, experiment: Experiment) -> list[str]:
    """Return the names of the training runs and evaluations on which an experiment's analyses depend."""
    left = [f"{experiment.name}/{name}" for name in experiment.cfg.analyses]
    found: list[str] = []
    while left:
        command = plan.commands[left.pop()]
        left += command.needs
        if command.kind in (TRAIN, EVALUATE) and command.name not in found:
            found.append(command.name)
    return found
