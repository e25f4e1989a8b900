"""The commands of a suite of models: evaluations on benchmarks, in shards or whole, analyses, report.

The parts share evaluations with the same model, benchmark, mode and settings. Every command is composed and
checked here before the first one starts.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments.reproduce.analyses import schema_of
from experiments.reproduce.config import ReproduceConfig, SamplesConfig
from experiments.reproduce.models import GivenModel, download_config
from experiments.reproduce.models_checks import (
    LONG_COT,
    PARTS,
    PASS_AT_K,
    TABLE,
    TOKEN_EFFICIENCY,
    checked_models,
    long_cot,
    machine,
)
from experiments.reproduce.names import slug, text
from experiments.reproduce.plan import ANALYSIS, EVALUATE, MERGE, REPORT, Command, CommandPlan, report_command
from src.config import EvaluationConfig
from src.config.schema import ConfigError
from src.launch.entry import composed
from src.problems import ProblemError, load_benchmark

_ABOUT = {
    TABLE: {
        "title": "Accuracy over the benchmarks",
        "question": "How often is each policy right on each benchmark?",
        "claim": "Mean 52.7 over the five benchmarks (printed as 52.4) for the 7B policy, 66.3 for 8B.",
    },
    PASS_AT_K: {
        "title": "Capability boundary",
        "question": "Does code extend the set of problems that a policy can solve, and does training?",
        "claim": "Code is above text at every k up to 1,024, before and after training. The base with code "
        "overtakes the trained policy with code on OlymMATH-hard from about k = 128, on AIME24 near k = 650.",
    },
    TOKEN_EFFICIENCY: {
        "title": "Token efficiency",
        "question": "Are solutions with code shorter than long chains of thought?",
        "claim": "Solutions with code are more concise and efficient than long chains of thought in text.",
    },
}


@dataclass
class ModelsPlan(CommandPlan):
    """The commands, and what they read.

    Attributes:
        models: the configuration of an evaluation of each model, by name, which has its path.
        benchmarks: the configuration of an evaluation on each benchmark, by option.
    """

    models: dict[str, EvaluationConfig] = field(default_factory=dict)
    benchmarks: dict[str, EvaluationConfig] = field(default_factory=dict)


def make_models_plan(cfg: ReproduceConfig) -> ModelsPlan:
    """Return the commands of a suite of models; with ``shard``, the evaluations of that machine alone.

    Raises:
        ConfigError: a model, benchmark or setting is invalid; names the remedies of all faults at once.
    """
    planner = _ModelsPlanner(cfg)
    parts = [part for part in PARTS if cfg.only is None or part in cfg.only]
    for part in parts:
        planner.add(part)
    plan = planner.plan
    if plan.faults:
        raise ConfigError(*dict.fromkeys(plan.faults))
    if not any(one.kind == ANALYSIS for one in plan.commands.values()):
        raise ConfigError(
            f"suite={cfg.suite.name}: {', '.join(parts)} have no benchmark, so nothing is measured"
        )
    if cfg.shard is not None:
        plan.commands = _of_machine(plan, cfg.shard)
        return plan
    folders = dict.fromkeys(
        name.partition("/")[0] for name, one in plan.commands.items() if one.kind == ANALYSIS
    )
    plan.commands[REPORT] = report_command(
        plan, folders, Path(cfg.folder), f"Given models, suite {cfg.suite.name}"
    )
    return plan


def check_inputs(cfg: ReproduceConfig, plan: ModelsPlan) -> dict[str, int]:
    """Read every benchmark, from its file or the hub; return the numbers of problems by option.

    Raises:
        ConfigError: one cannot be read, or has fewer problems than there are shards.
    """
    faults, sizes = [], {}
    for option, one in plan.benchmarks.items():
        try:
            sizes[option] = len(load_benchmark(one.benchmark, f"benchmarks={{{option}: FILE}}"))
        except ProblemError as error:
            faults.append(f"benchmarks.{option}: {error}")
    shards = cfg.suite.given.shards
    faults += [
        f"suite.given.shards={shards}: benchmark {option} has {number} problems; give {number} at most"
        for option, number in sizes.items()
        if number < shards
    ]
    if faults:
        raise ConfigError(*faults)
    return sizes


def inputs_of(plan: ModelsPlan) -> dict[str, str | None]:
    """Return what the evaluations read: models and benchmark files, whose content must stay the same."""
    models = {f"models.{name}": one.model.path for name, one in plan.models.items()}
    return models | {f"benchmarks.{option}": one.benchmark.path for option, one in plan.benchmarks.items()}


class _ModelsPlanner:
    def __init__(self, cfg: ReproduceConfig) -> None:
        self.cfg, self.given, self.plan = cfg, cfg.suite.given, ModelsPlan()
        self.folder, self._files = Path(cfg.folder), cfg.benchmarks or {}
        self._models, self._long_cot = checked_models(cfg), long_cot(self.given)
        self._configs: dict[tuple[str, ...], EvaluationConfig] = {}
        faults = [fault for one in self._models for fault in self._model_faults(one)]
        if self._long_cot is not None:
            faults += self._model_faults(self._long_cot)
        if faults:
            raise ConfigError(*faults)

    def _model_faults(self, one: GivenModel) -> list[str]:
        """Return why a model cannot be used at all, with the description of a hub model downloaded."""
        try:
            # its positions are checked with every benchmark, once its config.json is here
            cfg = composed(
                EVALUATE,
                [*one.overrides, "rollout.max_tokens=1", "rollout.max_prompt_tokens=1"],
                EvaluationConfig,
            )
        except ConfigError as error:
            return [f"{one.setting}={one.model}: {fault}" for fault in error.faults]
        self.plan.models[one.name] = cfg
        return download_config(one, cfg.model.path, cfg.model.revision)

    def add(self, part: str) -> None:
        """Add the evaluations and analyses of a part; its faults are added to the plan's."""
        samples: SamplesConfig = getattr(self.given, part)
        if not samples.benchmarks:
            return
        found: dict[str, dict[str, list[str]]] = {}  # benchmark -> model -> commands, one of each mode
        for option in samples.benchmarks:
            models = [(one, samples.modes, samples.overrides) for one in self._models]
            if part == TOKEN_EFFICIENCY and self._long_cot is not None:
                overrides = [*samples.overrides, *self.given.long_cot_overrides]
                models.append((self._long_cot, ["text"], overrides))
            for one, modes, overrides in models:
                try:
                    commands = [self._evaluation(one, option, mode, samples.k, overrides) for mode in modes]
                except ConfigError as error:
                    at = f"suite.given.{part}, {one.setting}={one.model}, benchmark {option}"
                    self.plan.faults += [f"{at}: {fault}" for fault in error.faults]
                    continue
                found.setdefault(option, {})[one.name] = commands
        if not self.plan.faults:
            self._analyses(part, samples, found)

    def _config(
        self, one: GivenModel, option: str, k: int | None, overrides: list[str]
    ) -> tuple[EvaluationConfig, list[str]]:
        """Return the configuration of an evaluation, and its overrides."""
        given = [*one.overrides, f"benchmark={option}", f"engine={self.given.engine}"]
        if option in self._files:
            given.append(f"benchmark.path={text(self._files[option])}")
        if self.given.size is not None:
            given.append(f"benchmark.size={self.given.size}")
        if self.given.max_tokens is not None:
            given.append(f"rollout.max_tokens={self.given.max_tokens}")
        given += [*self.given.overrides, *overrides]
        cfg = self._composed(given)
        if k is not None and cfg.evaluate.temperature > 0:
            given.append(f"evaluate.k={k}")
            cfg = replace(cfg, evaluate=replace(cfg.evaluate, k=k))
        return cfg, given

    def _composed(self, overrides: list[str]) -> EvaluationConfig:
        key = tuple(overrides)
        if key not in self._configs:
            self._configs[key] = composed(EVALUATE, overrides, EvaluationConfig)
        return self._configs[key]

    def _evaluation(
        self, one: GivenModel, option: str, mode: str, k: int | None, overrides: list[str]
    ) -> str:
        """Add an evaluation in as many shards as there are, and what merges them; return the last command."""
        cfg, given = self._config(one, option, k, overrides)
        self.plan.benchmarks.setdefault(option, cfg)
        own = slug(overrides)
        name = f"{EVALUATE}/{one.name}-{option}-{mode}-k{cfg.evaluate.k}" + (f"-{own}" if own else "")
        number = self.given.shards
        parts = []
        for index in range(number):
            shard = f"{index}/{number}" if number > 1 else None
            place = f"{name}/shard-{index}-of-{number}" if shard else name
            parts.append(place)
            self._put(
                Command(
                    place,
                    EVALUATE,
                    f"{one.name}-{option}-{mode}",
                    "src.evaluate",
                    (
                        *given,
                        f"evaluate.modes=[{mode}]",
                        *([f"evaluate.shard={shard}"] if shard else []),
                        "evaluate.resume=true",
                    ),
                    config=replace(
                        cfg, evaluate=replace(cfg.evaluate, modes=[mode], shard=shard, resume=True)
                    ),
                )
            )
        if number == 1:
            return name
        folders = text([str(self.folder / part) for part in parts])
        self._put(Command(f"{name}/merged", MERGE, MERGE, "src.merge", (f"folders={folders}",), tuple(parts)))
        return f"{name}/merged"

    def _put(self, command: Command) -> None:
        known = self.plan.commands.setdefault(command.name, command)
        if known != command:
            raise ConfigError(
                f"{command.name}: two evaluations would have this folder; write overrides differently"
            )

    def _analyses(self, part: str, samples: SamplesConfig, found: dict[str, dict[str, list[str]]]) -> None:
        """Add one table for all benchmarks, or one analysis for each of them."""
        if part == TABLE:
            policies: dict[str, dict[str, list[str]]] = {}
            for option, models in found.items():
                title = self.plan.benchmarks[option].benchmark.name
                for model, commands in models.items():
                    policies.setdefault(model, {})[title] = [str(self.folder / one) for one in commands]
            self._analysis(part, part, {"policies": policies}, found.values())
            return
        for option, models in found.items():
            arms = {model: [str(self.folder / one) for one in commands] for model, commands in models.items()}
            pairs = self._pairs(part, samples.modes)
            self._analysis(part, option, {"policies": arms, **({"pairs": pairs} if pairs else {})}, [models])

    def _pairs(self, part: str, modes: list[str]) -> list[list[str]]:
        """Return the arms to compare: modes of a model, and each model with the first and with long_cot."""
        names = [one.name for one in self._models]
        both = {"text", "code"} <= set(modes)
        pairs = [[f"{name}_text", f"{name}_code"] for name in names if both]
        pairs += [[f"{names[0]}_{mode}", f"{name}_{mode}"] for name in names[1:] for mode in modes]
        if part == TOKEN_EFFICIENCY and self._long_cot is not None:
            pairs += [[f"{LONG_COT}_text", f"{name}_{mode}"] for name in names for mode in modes]
        return pairs

    def _analysis(self, part: str, name: str, settings: dict[str, Any], models: Any) -> None:
        given = self.cfg.suite.analyses.get(part, {}) | settings
        overrides = [f"{key}={text(value)}" for key, value in given.items()]
        try:
            composed(f"{ANALYSIS}/{part}", overrides, schema_of(part))
        except ConfigError as error:
            self.plan.faults += [f"suite.analyses.{part}: {fault}" for fault in error.faults]
            return
        needs = dict.fromkeys(one for found in models for commands in found.values() for one in commands)
        self.plan.commands[f"{part}/{name}"] = Command(
            f"{part}/{name}",
            ANALYSIS,
            ANALYSIS,
            f"analysis.{part}",
            tuple(overrides),
            tuple(needs),
            about=_ABOUT[part],
        )


def _of_machine(plan: CommandPlan, shard: str) -> dict[str, Command]:
    """Return every N-th evaluation from the I-th on, those with the most trajectories per problem first."""
    place = machine(shard)
    assert place is not None
    evaluations = [one for one in plan.commands.values() if isinstance(one.config, EvaluationConfig)]
    evaluations.sort(key=lambda one: -one.config.evaluate.k if one.config else 0)  # stable
    return {one.name: one for one in evaluations[place[0] :: place[1]]}
