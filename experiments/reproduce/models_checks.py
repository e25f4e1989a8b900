"""What is wrong with the settings of a suite of models, before an evaluation is composed."""

from __future__ import annotations

import re

from hydra.errors import OverrideParseException

from experiments.reproduce.config import GivenModelsConfig, ReproduceConfig
from experiments.reproduce.models import GivenModel, faults_of, given_models
from src.config.command_line import names
from src.config.paths import CONF
from src.config.schema import ConfigError, show, wrong_choice

LONG_COT = "long_cot"
TABLE, PASS_AT_K, TOKEN_EFFICIENCY = PARTS = ("table", "pass_at_k", "token_efficiency")
# Settings of evaluations that the suite gives itself, after its overrides -> what gives them instead.
_OF_THE_SUITE = {
    "evaluate.k": "suite.given.{part}.k",
    "evaluate.modes": "suite.given.{part}.modes",
    "evaluate.shard": "suite.given.shards",
    "evaluate.resume": "nothing: it is always true",
}


def checked_models(cfg: ReproduceConfig) -> list[GivenModel]:
    """Return the given models; raise ConfigError with all faults of the settings."""
    models, faults = [], []
    try:
        models = given_models(cfg.models or [])
    except ConfigError as error:
        faults += error.faults
    faults += [*_names(cfg), *_ignored(cfg.suite.given)]
    if cfg.only == []:
        faults.append("only=[]: no part is left; name some, or give null for all")
    if cfg.publish:
        faults.append(f"publish=true: only of a suite of experiments; the results are in {cfg.folder}")
    if cfg.shard is not None and not machine(cfg.shard):
        faults.append(f"shard={cfg.shard}: expected I/N with 0 <= I < N, such as 0/2 and 1/2")
    other = long_cot(cfg.suite.given)
    if other is not None:
        faults += faults_of(other)
        if LONG_COT in [one.name for one in models]:
            faults.append(f"models: {LONG_COT} is the name of suite.given.long_cot; give another")
    if faults:
        raise ConfigError(*faults)
    return models


def long_cot(given: GivenModelsConfig) -> GivenModel | None:
    """Return the model whose long chains of thought are compared; None: there is none."""
    if given.long_cot is None:
        return None
    return GivenModel(LONG_COT, given.long_cot, "suite.given.long_cot")


def machine(shard: str) -> tuple[int, int] | None:
    """Return I and N of ``I/N``; None: it is not of this form."""
    match = re.fullmatch(r"(\d+)/(\d+)", shard)
    found = (int(match[1]), int(match[2])) if match else None
    return found if found and found[0] < found[1] else None


def _names(cfg: ReproduceConfig) -> list[str]:
    """Return the benchmarks and parts that do not exist or are not used."""
    named = {part: getattr(cfg.suite.given, part).benchmarks for part in PARTS}
    used = sorted({name for benchmarks in named.values() for name in benchmarks})
    options = sorted(path.stem for path in (CONF / "benchmark").glob("*.yaml"))
    faults = [
        wrong_choice(f"suite.given.{part}.benchmarks[{index}]", name, options)
        for part, benchmarks in named.items()
        for index, name in enumerate(benchmarks)
        if name not in options
    ]
    faults += [wrong_choice("benchmarks", name, used) for name in cfg.benchmarks or {} if name not in used]
    parts = enumerate(cfg.only or [])
    return faults + [wrong_choice(f"only[{i}]", part, PARTS) for i, part in parts if part not in PARTS]


def _ignored(given: GivenModelsConfig) -> list[str]:
    """Return the overrides that would have no effect, since the suite gives these settings itself."""
    overrides: dict[str, tuple[list[str], str]] = {
        "overrides": (given.overrides, "PART"),
        "long_cot_overrides": (given.long_cot_overrides, TOKEN_EFFICIENCY),
    }
    overrides |= {f"{part}.overrides": (getattr(given, part).overrides, part) for part in PARTS}
    k = {part for part in PARTS if (one := getattr(given, part)).k is not None and one.benchmarks}
    return [
        f"suite.given.{name}={show(listed)}: {one} would be ignored; give "
        f"{_OF_THE_SUITE[one].format(part=part)}"
        for name, (listed, part) in overrides.items()
        for one in _settings(listed)
        if one in _OF_THE_SUITE and (one != "evaluate.k" or part in k or (part == "PART" and k))
    ]


def _settings(overrides: list[str]) -> list[str]:
    """Return the settings that overrides name; none if they cannot be parsed, which is reported elsewhere."""
    try:
        return names(overrides)
    except OverrideParseException:
        return []
