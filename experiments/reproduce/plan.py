"""The commands of experiments: training runs, evaluations of their last checkpoints, analyses, report.

Experiments share them: a training run is identified by its overrides and seed, an evaluation by policy, mode
and overrides. Every command is composed and checked here before the first one starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

from experiments.reproduce.analyses import analyses, check_names, schema_of
from experiments.reproduce.config import Experiment, SourceConfig, SuiteConfig
from experiments.reproduce.names import slug, text
from src.config import Config, EvaluationConfig
from src.config.schema import ConfigError, wrong_choice
from src.launch.entry import composed

TRAIN, EVALUATE, MERGE, ANALYSIS, REPORT = "train", "evaluate", "merge", "analysis", "report"
KINDS = (TRAIN, EVALUATE, MERGE, ANALYSIS, REPORT)
REFERENCE, BASE = "reference", "base"


@dataclass(frozen=True)
class Command:
    """One program to run.

    Attributes:
        name: its folder, relative to that of the reproduction.
        kind: train, evaluate, merge, analysis or report.
        pace: commands with the same pace have similar durations.
        module: the module to run.
        overrides: without its folder.
        needs: names of the commands whose results it reads.
        config: of training runs and evaluations: the content of ``config.json``.
        about: of analyses: title, question and claim for the report.
    """

    name: str
    kind: str
    pace: str
    module: str
    overrides: tuple[str, ...]
    needs: tuple[str, ...] = ()
    config: Config | EvaluationConfig | None = None
    about: dict[str, str] | None = None


@dataclass
class CommandPlan:
    """All commands by name, each after its dependencies."""

    commands: dict[str, Command] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def make_plan(suite: SuiteConfig, experiments: list[Experiment], folder: Path) -> CommandPlan:
    """Return the commands of ``experiments`` at the scale of ``suite``.

    Raises:
        ConfigError: a command is invalid; names file, field and remedy of all faults at once.
    """
    planner = _Planner(suite, folder)
    planner.check_suite()
    for experiment in experiments:
        planner.add(experiment)
    if planner.plan.faults:
        raise ConfigError(*planner.plan.faults)
    planner.plan.commands[REPORT] = report_command(
        planner.plan,
        [one.name for one in experiments],
        folder,
        f"The paper in miniature, suite {suite.name}",
    )
    return planner.plan


def report_command(plan: CommandPlan, names: Iterable[str], folder: Path, title: str) -> Command:
    """Return the command that makes the report of the analyses in the folders ``names``."""
    return Command(
        REPORT,
        REPORT,
        REPORT,
        "analysis.report",
        (
            f"folders={text([str(folder / name) for name in names])}",
            f"report.title={text(title)}",
            "hydra.output_subdir=null",
            "hydra/job_logging=stdout",
        ),
        tuple(name for name, one in plan.commands.items() if one.kind == ANALYSIS),
    )


class _Planner:
    def __init__(self, suite: SuiteConfig, folder: Path) -> None:
        self.suite, self.folder, self.plan = suite, folder, CommandPlan()
        self._trainings: dict[tuple[str, ...], Config] = {}  # checked configurations by overrides of the arm
        self._evaluations: dict[tuple[str, ...], EvaluationConfig] = {}

    def check_suite(self) -> None:
        """Raise ConfigError if the suite itself is invalid, which every arm would otherwise report."""
        at, seeds = f"suite={self.suite.name}", self.suite.seeds
        missing = [name for name in ("experiment", "base") if getattr(self.suite, name) is None]
        if missing:
            raise ConfigError(
                *(f"{at}: suite.{name}=null: a suite of experiments needs it" for name in missing)
            )
        if not seeds or len(set(seeds)) < len(seeds):
            raise ConfigError(f"{at}: suite.seeds={seeds}: give at least one, and each once")
        faults = [
            f"{at}: {wrong_choice('suite.analyses', name, analyses())}"
            for name in self.suite.analyses
            if name not in analyses()
        ]
        faults += self._attempt(f"{at}, training", partial(self._training_config, ()))
        faults = faults or self._attempt(f"{at}, evaluation", partial(self._evaluation_config, ()))
        if faults:
            raise ConfigError(*faults)

    def add(self, experiment: Experiment) -> None:
        """Add the commands of an experiment; its faults are added to the plan's."""
        cfg, file = experiment.cfg, experiment.file
        faults: list[str] = []
        for name, overrides in cfg.arms.items():
            faults += self._attempt(f"{file}: arms.{name}", partial(self._training_config, overrides))
        for name, sources in cfg.policies.items():
            for index, source in enumerate(sources):
                at = f"{file}: policies.{name}[{index}]"
                faults += self._attempt(at, partial(self._evaluation_config, source.overrides))
        if not faults:
            for name, settings in cfg.analyses.items():
                faults += self._attempt(
                    f"{file}: analyses.{name}", partial(self._analysis, experiment, name, settings)
                )
        self.plan.faults += faults

    @staticmethod
    def _attempt(at: str, make: Callable[[], Any]) -> list[str]:
        try:
            make()
        except ConfigError as error:
            return [f"{at}: {fault}" for fault in error.faults]
        return []

    def _training_overrides(self, overrides: Iterable[str]) -> list[str]:
        """Return the overrides of a training run; experiments of the arm are added to the suite's."""
        prefix = "+experiment="
        named = [self.suite.experiment]
        rest = []
        for override in overrides:
            if override.startswith(prefix):
                named += override.removeprefix(prefix).strip("[]").split(",")
            else:
                rest.append(override)
        first = [f"{prefix}[{','.join(named)}]", f"model.path={text(self.suite.base)}"]
        return [*first, *self.suite.overrides, *rest]

    def _training_config(self, overrides: Iterable[str]) -> Config:
        key = tuple(sorted(overrides))
        if key not in self._trainings:
            self._trainings[key] = composed(TRAIN, self._training_overrides(overrides), Config)
        return self._trainings[key]

    def _evaluation_overrides(self, overrides: Iterable[str]) -> list[str]:
        cfg = self.suite.evaluation
        max_tokens = cfg.max_tokens or self._training_config(()).rollout.max_tokens
        return [
            f"engine={cfg.engine}",
            f"benchmark.size={cfg.problems}",
            f"benchmark.levels={text(cfg.levels)}",
            f"evaluate.k={cfg.k}",
            f"evaluate.seed={cfg.seed}",
            f"rollout.max_tokens={max_tokens}",
            *cfg.overrides,
            *overrides,
        ]

    def _evaluation_config(self, overrides: Iterable[str]) -> EvaluationConfig:
        """Return the configuration for the base policy; for trained policies only ``model.path`` differs."""
        key = tuple(sorted(overrides))
        if key not in self._evaluations:
            given = [f"model.path={text(self.suite.base)}", *self._evaluation_overrides(overrides)]
            self._evaluations[key] = composed(EVALUATE, given, EvaluationConfig)
        return self._evaluations[key]

    def _training(self, overrides: list[str], seed: int) -> Command:
        name = f"{TRAIN}/{slug(overrides) or REFERENCE}-seed{seed}"
        cfg = self._training_config(overrides)
        return self._put(
            Command(
                name,
                TRAIN,
                TRAIN,
                "src.train",
                (*self._training_overrides(overrides), f"trainer.seed={seed}"),
                config=replace(cfg, trainer=replace(cfg.trainer, seed=seed)),
            )
        )

    def _evaluation(self, experiment: Experiment, source: SourceConfig, mode: str) -> Command:
        path, policy = self.suite.base, BASE
        needs: tuple[str, ...] = ()
        if source.arm is not None:
            training = self._training(experiment.cfg.arms[source.arm], self.suite.seeds[0])
            assert isinstance(training.config, Config)
            path = f"{self.folder / training.name}/checkpoints/step-{training.config.trainer.steps}"
            needs, policy = (training.name,), training.name.removeprefix(f"{TRAIN}/")
        own = slug(source.overrides)
        cfg = self._evaluation_config(source.overrides)
        return self._put(
            Command(
                f"{EVALUATE}/{policy}-{mode}" + (f"-{own}" if own else ""),
                EVALUATE,
                f"{EVALUATE}-{mode}",
                "src.evaluate",
                (
                    f"model.path={text(path)}",
                    *self._evaluation_overrides(source.overrides),
                    f"evaluate.modes=[{mode}]",
                    "evaluate.resume=true",
                ),
                needs,
                config=replace(
                    cfg,
                    model=replace(cfg.model, path=path),
                    evaluate=replace(cfg.evaluate, modes=[mode], resume=True),
                ),
            )
        )

    def _analysis(self, experiment: Experiment, name: str, settings: dict[str, Any]) -> None:
        """Add an analysis with the inputs that its schema declares: the runs of all arms, or the policies."""
        if name not in analyses():
            raise ConfigError(wrong_choice("analyses", name, analyses()))
        schema = schema_of(name)
        reads, commands = self._read(experiment, schema)
        for key in reads:
            if key in settings:
                raise ConfigError(f"{key}: is set by the experiment; remove it")
        check_names(experiment, settings)
        given = self.suite.analyses.get(name, {}) | settings | reads
        overrides = [f"{key}={text(value)}" for key, value in given.items()]
        composed(f"{ANALYSIS}/{name}", overrides, schema)
        about = {"title": experiment.title} | {
            key: getattr(experiment.cfg, key) for key in ("question", "claim")
        }
        self._put(
            Command(
                f"{experiment.name}/{name}",
                ANALYSIS,
                ANALYSIS,
                f"analysis.{name}",
                tuple(overrides),
                tuple(dict.fromkeys(commands)),
                about=about,
            )
        )

    def _read(self, experiment: Experiment, schema: type) -> tuple[dict[str, Any], list[str]]:
        """Return the settings that name the inputs of an analysis, and the commands that produce them."""
        cfg, keys = experiment.cfg, get_type_hints(schema)
        seeds = self.suite.seeds
        if "policies" in keys:
            found = {
                name: [
                    self._evaluation(experiment, source, mode).name
                    for source in sources
                    for mode in source.modes
                ]
                for name, sources in cfg.policies.items()
            }
            key, missing = "policies", "policies: give {base: [{arm: null, modes: [free]}]} or others"
        else:
            seeds = seeds if "arms" in keys else seeds[:1]
            found = {
                name: [self._training(overrides, seed).name for seed in seeds]
                for name, overrides in cfg.arms.items()
            }
            key, missing = ("arms" if "arms" in keys else "runs"), "arms: give {reference: []} or others"
        if not found:
            raise ConfigError(f"its input is missing from the experiment; {missing}")
        paths = {name: [str(self.folder / command) for command in made] for name, made in found.items()}
        given: dict[str, Any] = {n: runs[0] for n, runs in paths.items()} if key == "runs" else paths
        return {key: given}, [command for made in found.values() for command in made]

    def _put(self, command: Command) -> Command:
        known = self.plan.commands.setdefault(command.name, command)
        if known.config != command.config:
            raise ConfigError(
                f"{command.name}: two commands would have this folder; write the overrides of one differently"
            )
        return known
