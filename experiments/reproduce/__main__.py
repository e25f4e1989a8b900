"""``python -m experiments.reproduce``: runs all experiments, with shared runs, and writes report.html.

The same command continues where it was stopped or killed. ``only=[curriculum]`` selects experiments,
``suite=midi`` another scale; see conf/reproduce.yaml and conf/suite for other settings.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from experiments.reproduce.config import Experiment, ReproduceConfig, load_experiments
from experiments.reproduce.folder import DURATIONS, Durations, Folder
from experiments.reproduce.pace import span
from experiments.reproduce.plan import KINDS, CommandPlan, make_plan
from experiments.reproduce.publish import publish
from experiments.reproduce.run import CommandError, Runner
from src.launch.entry import entry
from src.run.console import console

_GOES_ON = "the same command goes on from here"


@entry("reproduce", ReproduceConfig)
def main(cfg: ReproduceConfig, _: Path) -> None:
    """CommandPlan and check everything, then run it."""
    experiments = load_experiments(Path(cfg.experiments), cfg.only)
    plan = make_plan(cfg.suite, experiments, Path(cfg.folder))
    with Folder(Path(cfg.folder)) as folder:
        _reproduce(cfg, experiments, plan, folder)


def _reproduce(
    cfg: ReproduceConfig, experiments: list[Experiment], plan: CommandPlan, folder: Folder
) -> None:
    folder.check(plan.commands, cfg.suite.base)
    durations = Durations(folder.path / DURATIONS)
    runner = Runner(plan, folder, durations, cfg.jobs)
    kinds = Counter(one.kind for one in plan.commands.values())
    console.print(
        f"{len(experiments)} experiments, {runner.total} commands ("
        + ", ".join(f"{kinds[kind]} {kind}" for kind in KINDS)
        + f"), {runner.finished} of them finished before; in {folder.path}",
        markup=False,
    )
    try:
        runner.run()
    except KeyboardInterrupt:
        console.print(
            f"stopped after {runner.finished} of {runner.total} commands; {_GOES_ON}", style="yellow"
        )
        sys.exit(130)
    except CommandError as error:
        console.print(str(error), markup=False, highlight=False)
        console.print(f"{runner.finished} of {runner.total} commands finished; {_GOES_ON}", style="yellow")
        sys.exit(1)
    if cfg.publish:
        for one in publish(plan, experiments, cfg.suite, folder, durations):
            console.print(f"published: {one}")
    earlier = f", {span(durations.earlier)} of them in earlier attempts" if durations.earlier else ""
    console.print(
        f"{folder.path / 'report.html'}: {runner.total} commands in {span(durations.runner)}{earlier}"
    )


if __name__ == "__main__":
    main()
