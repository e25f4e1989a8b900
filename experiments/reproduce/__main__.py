"""``python -m experiments.reproduce``: runs all experiments, with shared runs, and writes report.html.

The same command continues where it was stopped or killed. ``only=[curriculum]`` selects experiments,
``suite=midi`` another scale, and ``suite=paper models=[BASE,TRAINED]`` measures given models on the paper's
benchmarks; see conf/reproduce.yaml and conf/suite for other settings.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from experiments.reproduce.config import ReproduceConfig, load_experiments
from experiments.reproduce.folder import Durations, Folder
from experiments.reproduce.models_plan import check_inputs, inputs_of, make_models_plan
from experiments.reproduce.pace import span
from experiments.reproduce.plan import KINDS, CommandPlan, make_plan
from experiments.reproduce.publish import publish
from experiments.reproduce.run import CommandError, Runner
from src.config.schema import ConfigError, show
from src.launch.entry import entry
from src.run.console import console

_GOES_ON = "the same command goes on from here"


@entry("reproduce", ReproduceConfig)
def main(cfg: ReproduceConfig, _: Path) -> None:
    """Plan and check everything, then run it."""
    if cfg.suite.kind == "models":
        _measure_models(cfg)
        return
    faults = [
        f"{name}={show(value)}: only of a suite of models, such as suite=paper; remove it"
        for name, value in {"models": cfg.models, "benchmarks": cfg.benchmarks, "shard": cfg.shard}.items()
        if value
    ]
    if faults:
        raise ConfigError(*faults)
    experiments = load_experiments(Path(cfg.experiments), cfg.only)
    plan = make_plan(cfg.suite, experiments, Path(cfg.folder))
    with Folder(Path(cfg.folder)) as folder:
        folder.check(plan.commands, cfg.suite.base)
        durations = Durations(folder.durations)
        runner = _run(cfg, plan, folder, durations, f"{len(experiments)} experiments")
        if cfg.publish:
            for one in publish(plan, experiments, cfg.suite, folder, durations):
                console.print(f"published: {one}")
        _say_done(runner, durations, str(folder.path / "report.html"))


def _measure_models(cfg: ReproduceConfig) -> None:
    plan = make_models_plan(cfg)
    sizes = check_inputs(cfg, plan)
    with Folder(Path(cfg.folder), cfg.shard) as folder:
        folder.check(plan.commands, None, inputs_of(plan))
        durations = Durations(folder.durations)
        listed = ", ".join(f"{option} ({number})" for option, number in sizes.items())
        what = f"{len(plan.models)} models ({', '.join(plan.models)}), problems of {listed}"
        runner = _run(cfg, plan, folder, durations, what)
        done = str(folder.path / "report.html")
        if cfg.shard is not None:
            done = (
                f"{folder.path}: machine {cfg.shard}; once all have finished, give the command without shard"
            )
        _say_done(runner, durations, done)


def _run(cfg: ReproduceConfig, plan: CommandPlan, folder: Folder, durations: Durations, what: str) -> Runner:
    """Run the commands; exit with 1 if one fails, with 130 if interrupted."""
    runner = Runner(plan, folder, durations, cfg.jobs)
    kinds = Counter(one.kind for one in plan.commands.values())
    console.print(
        f"{what}, {runner.total} commands ("
        + ", ".join(f"{kinds[kind]} {kind}" for kind in KINDS if kinds[kind])
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
    return runner


def _say_done(runner: Runner, durations: Durations, what: str) -> None:
    earlier = f", {span(durations.earlier)} of them in earlier attempts" if durations.earlier else ""
    console.print(f"{what}: {runner.total} commands in {span(durations.runner)}{earlier}", markup=False)


if __name__ == "__main__":
    main()
