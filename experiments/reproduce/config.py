"""Settings of experiments (``experiments/NAME/experiment.yaml``) and of suites, which set their scale."""

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
    """Evaluation of policies: each policy in each mode once."""

    k: int = option(256, "trajectories per problem", at_least=1)
    problems: int = option(60, "number of benchmark problems", at_least=1)
    levels: list[int] | None = option(None, "levels of the problems; null: all")
    seed: int = seed_option(4321, "seed of the problems")
    max_tokens: int | None = option(None, "maximum tokens of a completion; null: as in training", at_least=1)
    engine: str = option(
        "transformers", "inference engine", choices=("transformers", "vllm", "vllm_server", "auto")
    )
    overrides: list[str] = option([], "additional overrides of src.evaluate")


@dataclass
class SamplesConfig:
    """Which benchmarks are sampled for a part of kind=models, in which modes, and how often."""

    benchmarks: list[str] = option([], "options of conf/benchmark")
    modes: list[str] = option(["free"], "modes, each an evaluation of its own", choices=MODES)
    k: int | None = option(
        None,
        "trajectories per problem, but of greedy benchmarks, which keep one; null: as in conf/benchmark",
        at_least=1,
    )
    overrides: list[str] = option([], "overrides of these evaluations")


@dataclass
class GivenModelsConfig:
    """What is measured of given models (kind=models); null in all of it: as in conf/benchmark."""

    table: SamplesConfig = field(default_factory=SamplesConfig)
    pass_at_k: SamplesConfig = field(default_factory=SamplesConfig)
    token_efficiency: SamplesConfig = field(default_factory=SamplesConfig)
    long_cot: str | None = option(
        None, "a model with long chains of thought, for token_efficiency in mode text; null: none"
    )
    long_cot_overrides: list[str] = option([], "overrides of its evaluations")
    size: int | None = option(
        None, "number of problems of each benchmark, the first ones; null: all", at_least=1
    )
    max_tokens: int | None = option(
        None, "maximum tokens of a completion; null: as in conf/benchmark", at_least=1
    )
    engine: str = option("auto", "inference engine", choices=("transformers", "vllm", "vllm_server", "auto"))
    shards: int = option(
        1, "parts into which each evaluation is divided, which src.merge puts together", at_least=1
    )
    overrides: list[str] = option([], "overrides of every evaluation")


@dataclass
class SuiteConfig:
    """The scale at which all experiments are run, or what is measured of given models."""

    name: str = option("???", "name of the folder")
    kind: str = option(
        "experiments",
        "experiments: those in the folder experiments, with training runs of their own; models: the models "
        "of models=[...], on benchmarks",
        choices=("experiments", "models"),
    )
    given: GivenModelsConfig = field(default_factory=GivenModelsConfig)
    experiment: str | None = option(
        None, "option of conf/experiment on which every training run is based; needed by kind=experiments"
    )
    base: str | None = option(None, "path of the base policy; needed by kind=experiments")
    jobs: int = option(1, "commands in parallel", at_least=1)
    seeds: list[int] = option(
        [0, 1, 2], "training seeds; evaluated policies are those of the first", at_least=0
    )
    overrides: list[str] = option([], "overrides of every training run")
    evaluation: SuiteEvaluationConfig = field(default_factory=SuiteEvaluationConfig)
    analyses: dict[str, dict[str, Any]] = option(
        {}, "analysis -> settings that depend on the scale, which an experiment may override"
    )


@dataclass
class ReproduceConfig:
    """``python -m experiments.reproduce``."""

    suite: SuiteConfig = field(default_factory=SuiteConfig)
    folder: str = option("???", "folder for all results")
    experiments: str = option("experiments", "folder with one folder per experiment")
    only: list[str] | None = option(
        None, "names of experiments to run, or of the parts of a suite of models; null: all"
    )
    models: list[str] | dict[str, str] | None = option(
        None,
        "of a suite of models: options of conf/model, folders or hub ids, or {NAME: MODEL}; the first is the "
        "base with which the others are compared",
    )
    benchmarks: dict[str, str] | None = option(
        None, "of a suite of models: option of conf/benchmark -> the file it is read from, instead of the hub"
    )
    shard: str | None = option(
        None,
        "of a suite of models, I/N: only the evaluations of the I-th of N machines, 0 <= I < N; without it, "
        "afterwards, the same command makes tables and figures; null: everything",
    )
    jobs: int = option(1, "commands in parallel, each with cores // jobs threads", at_least=1)
    publish: bool = option(False, "copy small results to experiments/NAME/result/SUITE")


@dataclass
class SourceConfig:
    """A policy, and the modes in which it is evaluated."""

    arm: str | None = option(None, "an arm of the experiment; null: the base policy")
    modes: list[str] = option(["free"], "modes of evaluation", choices=MODES)
    overrides: list[str] = option([], "overrides of src.evaluate")


@dataclass
class ExperimentConfig:
    """An experiment: its training arms, evaluated policies and analyses."""

    question: str = option("???", "the question, in one sentence")
    claim: str = option("???", "the claim of the paper, in one sentence")
    order: int = option(1000, "position in the report; ties are sorted by name")
    arms: dict[str, list[str]] = option({}, "name -> overrides of the suite's training run")
    policies: dict[str, list[SourceConfig]] = option({}, "name -> sources, each with different modes")
    analyses: dict[str, dict[str, Any]] = option({}, "analysis -> settings")


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
        """Its file, for messages."""
        return str(self.folder / FILE)


def load_experiments(folder: Path, only: list[str] | None) -> list[Experiment]:
    """Return the experiments of ``folder`` in order.

    Raises:
        ConfigError: there are none, ``only`` has an unknown name, or a file is invalid; names file, field,
            value and remedy of all faults at once.
    """
    found = sorted(path.parent for path in folder.glob(f"*/{FILE}"))
    names = [one.name for one in found]
    if not found:
        raise ConfigError(
            f"experiments={folder}: no folder in it has an {FILE}; give the folder of experiments"
        )
    faults = [
        wrong_choice(f"only[{i}]", name, names) for i, name in enumerate(only or []) if name not in names
    ]
    if only == []:
        faults.append("only=[]: no experiment is left; name some, or give null for all")
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
        raise ConfigError(f"{file}{line}: not valid YAML: {error.problem}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: expected the keys question, claim, arms, policies and analyses")
    # missing keys take their defaults; these have none
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
    """Return the inconsistencies between the parts of an experiment."""
    faults = []
    if not cfg.analyses:
        faults.append("analyses={}: no analysis is given, so there would be no result; name one of analysis/")
    for name, sources in cfg.policies.items():
        modes = [mode for source in sources for mode in source.modes]
        if not modes:
            faults.append(f"policies.{name}=[]: it has no mode; give [{{arm: null, modes: [free]}}]")
        for mode in sorted({mode for mode in modes if modes.count(mode) > 1}):
            faults.append(f"policies.{name}: mode {mode} is given twice; make them two policies")
        faults += [
            wrong_choice(f"policies.{name}[{i}].arm", source.arm, [*cfg.arms, "null (the untrained base)"])
            for i, source in enumerate(sources)
            if source.arm is not None and source.arm not in cfg.arms
        ]
    return faults
