"""What is reproduced: an experiment is ``experiments/NAME/experiment.yaml``; a suite says its scale."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from src.config.schema import ConfigError, build, option, seed_option, wrong_choice

FILE = "experiment.yaml"
MODES = ("free", "text", "code")


@dataclass
class SuiteEvaluationConfig:
    """How the experiments on policies evaluate: each policy in each mode once."""

    k: int = option(256, "trajectories per problem", at_least=1)
    problems: int = option(60, "of the benchmark", at_least=1)
    levels: list[int] | None = option(None, "null: all")
    seed: int = seed_option(4321, "of the problems")
    max_tokens: int | None = option(None, "null: as in training", at_least=1)
    engine: str = option(
        "transformers", "what samples", choices=("transformers", "vllm", "vllm_server", "auto")
    )
    overrides: list[str] = option([], "of src.evaluate, further ones")


@dataclass
class SuiteConfig:
    """The scale on which all experiments are run."""

    name: str = option("???", "of the folder")
    experiment: str = option("???", "of conf/experiment: what every training begins with")
    base: str = option("???", "the untrained policy")
    jobs: int = option(1, "commands at once", at_least=1)
    seeds: list[int] = option([0, 1, 2], "of trainings; policies of the first are evaluated", at_least=0)
    overrides: list[str] = option([], "of every training")
    evaluation: SuiteEvaluationConfig = field(default_factory=SuiteEvaluationConfig)
    analyses: dict[str, dict[str, Any]] = option(
        {}, "analysis -> settings that depend on the scale; those of an experiment come after them"
    )


@dataclass
class ReproduceConfig:
    """``python -m experiments.reproduce``."""

    suite: SuiteConfig = field(default_factory=SuiteConfig)
    folder: str = option("???", "of everything that is made")
    experiments: str = option("experiments", "folder of folders with an experiment.yaml")
    only: list[str] | None = option(None, "names of experiments; null: all")
    jobs: int = option(1, "commands at once, each with cores // jobs threads", at_least=1)
    publish: bool = option(False, "copy small results to experiments/NAME/result/SUITE")


@dataclass
class SourceConfig:
    """A policy, and the modes in which it is evaluated."""

    arm: str | None = option(None, "one of the experiment's arms; null: the base, untrained")
    modes: list[str] = option(["free"], "in which it is evaluated", choices=MODES)
    overrides: list[str] = option([], "of src.evaluate")


@dataclass
class ExperimentConfig:
    """One question to the method: what is trained, what is evaluated, and what is made of it."""

    question: str = option("???", "what is asked, in a sentence")
    claim: str = option("???", "what the paper reports, in a sentence")
    order: int = option(1000, "place in the report; equal ones by name")
    arms: dict[str, list[str]] = option({}, "name -> overrides of the suite's training")
    policies: dict[str, list[SourceConfig]] = option({}, "each mode in one source")
    analyses: dict[str, dict[str, Any]] = option({}, "of analysis/ -> settings")


@dataclass(frozen=True)
class Experiment:
    """An experiment with the folder that it is named after."""

    folder: Path
    cfg: ExperimentConfig

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def title(self) -> str:
        """The name as a heading."""
        return self.name.replace("_", " ").capitalize()

    @property
    def file(self) -> str:
        """Where it is described, for messages."""
        return str(self.folder / FILE)


def load_experiments(folder: Path, only: list[str] | None) -> list[Experiment]:
    """Return the experiments of ``folder`` in order.

    Raises:
        ConfigError: there are none, ``only`` names one that is not there, or a file says what it cannot mean;
            names file, field, value and remedy, of all at once.
    """
    found = sorted(path.parent for path in folder.glob(f"*/{FILE}"))
    names = [one.name for one in found]
    if not found:
        raise ConfigError(f"experiments={folder}: no folder in it has an {FILE}; give the one that has them")
    faults = [wrong_choice(f"only[{i}]", one, names) for i, one in enumerate(only or []) if one not in names]
    if only == []:
        faults.append("only=[]: nothing is left; name experiments, or null for all")
    experiments = []
    for one in found:
        if only is None or one.name in only:
            try:
                experiments.append(_load(one))
            except ConfigError as error:
                faults += error.faults
    if faults:
        raise ConfigError(*faults)
    return sorted(experiments, key=lambda one: (one.cfg.order, one.name))


def _load(folder: Path) -> Experiment:
    file = folder / FILE
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{file}{line}: this is not valid YAML: {error.problem}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: expected the keys question, claim, arms, policies and analyses")
    # what is left out takes its default, and these have none
    given = {"question": "???", "claim": "???"} | values
    try:
        experiment = Experiment(folder, build(ExperimentConfig, given))
    except ConfigError as error:
        raise ConfigError(*(f"{file}: {fault}" for fault in error.faults)) from None
    faults = _faults(experiment.cfg)
    if faults:
        raise ConfigError(*(f"{file}: {fault}" for fault in faults))
    return experiment


def _faults(cfg: ExperimentConfig) -> list[str]:
    """Return what the parts of an experiment say of each other that cannot be."""
    faults = []
    if not cfg.analyses:
        faults.append("analyses: none are given, so that nothing would come of it; name one of analysis/")
    for name, sources in cfg.policies.items():
        modes = [mode for source in sources for mode in source.modes]
        if not modes:
            faults.append(f"policies.{name}: has no mode; give [{{arm: null, modes: [free]}}]")
        for mode in sorted({one for one in modes if modes.count(one) > 1}):
            faults.append(f"policies.{name}: mode {mode} is given twice; make them two policies")
        faults += [
            wrong_choice(f"policies.{name}[{i}].arm", source.arm, [*cfg.arms, "null (the untrained base)"])
            for i, source in enumerate(sources)
            if source.arm is not None and source.arm not in cfg.arms
        ]
    return faults
