"""The analyses that a reproduction can run, and what their settings may be."""

from __future__ import annotations

from importlib import import_module
from typing import Any, get_type_hints

from analysis.measures import Measure
from experiments.reproduce.config import Experiment
from src.config.paths import CONF
from src.config.schema import ConfigError, wrong_choice


def analyses() -> list[str]:
    """Return the names of all analyses."""
    return sorted(path.stem for path in (CONF / "analysis").glob("*.yaml"))


def schema_of(analysis: str) -> type:
    """Return the dataclass of an analysis's settings, from the annotation of its ``main``."""
    main: Any = import_module(f"analysis.{analysis}").main
    schema: type = get_type_hints(main.__wrapped__)["cfg"]
    return schema


def check_names(experiment: Experiment, settings: dict[str, Any]) -> None:
    """Check the names of arms, policies and measures in an analysis. Raises ConfigError."""
    cfg = experiment.cfg
    baseline, arms = settings.get("baseline"), list(cfg.arms)
    if baseline is not None and baseline not in arms:
        raise ConfigError(wrong_choice("baseline", baseline, arms))
    for index, measure in enumerate(settings.get("measures") or []):
        Measure.parse(measure, f"measures[{index}]")
    policies = [
        f"{name}_{mode}"
        for name, sources in cfg.policies.items()
        for source in sources
        for mode in source.modes
    ]
    for index, pair in enumerate(settings.get("pairs") or []):
        for arm in pair:
            if arm not in policies:
                raise ConfigError(wrong_choice(f"pairs[{index}]", arm, policies))
