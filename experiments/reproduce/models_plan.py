"""The commands of a suite of models: evaluations on benchmarks, in shards or whole, analyses, report.

The parts share evaluations with the same model, benchmark, mode and settings. Every command is composed and
checked here before the first one starts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

from hydra.errors import OverrideParseException

from experiments.reproduce.config import ReproduceConfig, SamplesConfig
from experiments.reproduce.models import GivenModel, download_config, faults_of, given_models
from experiments.reproduce.names import slug, text
from experiments.reproduce.plan import ANALYSIS, EVALUATE, MERGE, REPORT, Command, CommandPlan, report_command
from src.config import EvaluationConfig
from src.config.command_line import names
from src.config.paths import CONF
from src.config.schema import ConfigError, show, wrong_choice
from src.launch.entry import composed
from src.problems import ProblemError, load_benchmark

LONG_COT = "long_cot"
# Settings of evaluations that the suite gives itself, after its overrides -> what gives them instead.
_OF_THE_SUITE = {
    "evaluate.k": "suite.given.{part}.k",
    "evaluate.modes": "suite.given.{part}.modes",
    "evaluate.shard": "suite.given.shards",
    "evaluate.resume": "nothing: it is always true",
}
_TABLE, _PASS_AT_K, _TOKENS = PARTS = ("table", "pass_at_k", "token_efficiency")
_ABOUT = {
    _TABLE: {
        "title": "Accuracy over the benchmarks",
        "question": "How often is each policy right on each benchmark?",
        "claim": "Mean 52.7 over the five benchmarks (printed as 52.4) for the 7B policy, 66.3 for 8B.",
    },
    _PASS_AT_K: {
        "title": "Capability boundary",
        "question": "Does code extend the set of problems that a policy can solve, and does training?",
        "claim": "Code is above text at every k up to 1,024, before and after training. The base with code "
        "overtakes the trained policy with code on OlymMATH-hard from about k = 128, on AIME24 near k = 650.",
    },
    _TOKENS: {
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
    planner.check()
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
        self._models: list[GivenModel] = []
        self._configs: dict[tuple[str, ...], EvaluationConfig] = {}

    def check(self) -> None:
        """Check models and names. Raises ConfigError, before anything is composed for each benchmark."""
        cfg, faults = self.cfg, []
        try:
            self._models = given_models(cfg.models or [])
        except ConfigError as error:
            faults += error.faults
        used = {name for part in PARTS for name in getattr(self.given, part).benchmarks}
        options = sorted(path.stem for path in (CONF / "benchmark").glob("*.yaml"))
        faults += [
            wrong_choice(f"suite.given.{part}.benchmarks[{index}]", name, options)
            for part in PARTS
            for index, name in enumerate(getattr(self.given, part).benchmarks)
            if name not in options
        ]
        faults += [wrong_choice("benchmarks", name, sorted(used)) for name in self._files if name not in used]
        faults += [
            wrong_choice(f"only[{i}]", part, PARTS)
            for i, part in enumerate(cfg.only or [])
            if part not in PARTS
        ]
        faults += self._ignored()
        if cfg.only == []:
            faults.append("only=[]: no part is left; name some, or give null for all")
        if cfg.publish:
            faults.append(f"publish=true: only of a suite of experiments; the results are in {cfg.folder}")
        if cfg.shard is not None and not _machine(cfg.shard):
            faults.append(f"shard={cfg.shard}: expected I/N with 0 <= I < N, such as 0/2 and 1/2")
        others = [self._long_cot()] if self.given.long_cot is not None else []
        faults += [fault for one in others for fault in faults_of(one)]
        if others and LONG_COT in [one.name for one in self._models]:
            faults.append(f"models: {LONG_COT} is the name of suite.given.long_cot; give another")
        if not faults:
            for one in [*self._models, *others]:
                faults += self._model_faults(one)
        if faults:
            raise ConfigError(*faults)

    def _ignored(self) -> list[str]:
        """Return the overrides that would have no effect, since the suite gives these settings itself."""
        given: dict[str, tuple[list[str], str]] = {
            "overrides": (self.given.overrides, "PART"),
            "long_cot_overrides": (self.given.long_cot_overrides, _TOKENS),
        }
        given |= {f"{part}.overrides": (getattr(self.given, part).overrides, part) for part in PARTS}
        k = {part for part in PARTS if (one := getattr(self.given, part)).k is not None and one.benchmarks}
        return [
            f"suite.given.{name}={show(overrides)}: {one} would be ignored; give "
            f"{_OF_THE_SUITE[one].format(part=part)}"
            for name, (overrides, part) in given.items()
            for one in _named(overrides)
            if one in _OF_THE_SUITE and (one != "evaluate.k" or part in k or (part == "PART" and k))
        ]

    def _long_cot(self) -> GivenModel:
        return GivenModel(LONG_COT, str(self.given.long_cot), "suite.given.long_cot")

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
            if part == _TOKENS and self.given.long_cot is not None:
                models.append(
                    (self._long_cot(), ["text"], [*samples.overrides, *self.given.long_cot_overrides])
                )
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
        if part == _TABLE:
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
        if part == _TOKENS and self.given.long_cot is not None:
            pairs += [[f"{LONG_COT}_text", f"{name}_{mode}"] for name in names for mode in modes]
        return pairs

    def _analysis(self, part: str, name: str, settings: dict[str, Any], models: Any) -> None:
        module = import_module(f"analysis.{part}")
        schema: type = get_type_hints(module.main.__wrapped__)["cfg"]
        given = self.cfg.suite.analyses.get(part, {}) | settings
        overrides = [f"{key}={text(value)}" for key, value in given.items()]
        try:
            composed(f"{ANALYSIS}/{part}", overrides, schema)
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


def _named(overrides: list[str]) -> list[str]:
    """Return the settings that overrides name; none if they cannot be parsed, which is reported elsewhere."""
    try:
        return names(overrides)
    except OverrideParseException:
        return []


def _machine(shard: str) -> tuple[int, int] | None:
    """Return I and N of ``I/N``; None: it is not of this form."""
    match = re.fullmatch(r"(\d+)/(\d+)", shard)
    found = (int(match[1]), int(match[2])) if match else None
    return found if found and found[0] < found[1] else None


def _of_machine(plan: CommandPlan, shard: str) -> dict[str, Command]:
    """Return every N-th evaluation from the I-th on, those with the most trajectories per problem first."""
    machine = _machine(shard)
    assert machine is not None
    evaluations = [one for one in plan.commands.values() if isinstance(one.config, EvaluationConfig)]
    evaluations.sort(key=lambda one: -one.config.evaluate.k if one.config else 0)  # stable
    return {one.name: one for one in evaluations[machine[0] :: machine[1]]}
