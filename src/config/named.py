"""Benchmarks by the name of their option in ``conf/benchmark``, for settings that name several."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from src.config.paths import CONF
from src.config.problems import BenchmarkConfig, FieldsConfig, HeldoutConfig
from src.config.schema import ConfigError, build, wrong_choice

_OPTIONS = CONF / "benchmark"
_FILES = (".jsonl", ".parquet")


def named_benchmark(text: str) -> BenchmarkConfig:
    """Return the benchmark that ``text`` names.

    Args:
        text: an option of ``conf/benchmark`` (``math500``), an option read from a file
            (``math500@MATH500.jsonl``), or a file.

    Raises:
        ConfigError: it is none of these.
    """
    name, _, path = text.partition("@")
    names = sorted(one.stem for one in _OPTIONS.glob("*.yaml"))
    if name in names:
        cfg = build(BenchmarkConfig, _option(name))
        return replace(cfg, path=path) if path else cfg
    if text.endswith(_FILES):
        return BenchmarkConfig(name=Path(text).name, kind="file", path=text)
    raise ConfigError(f"{wrong_choice('benchmark', text, names)}; or give a .jsonl or .parquet file")


def heldout_benchmark(cfg: HeldoutConfig) -> BenchmarkConfig:
    """Return the benchmark of ``data.heldout.benchmark``, with the fields and prompts of ``data.heldout``."""
    found = replace(named_benchmark(str(cfg.benchmark)), keep_prompt=cfg.keep_prompt)
    return found if cfg.fields == FieldsConfig() else replace(found, fields=cfg.fields)


def sampling_of(text: str) -> dict[str, Any]:
    """Return the settings of ``evaluate`` that the option of a valid benchmark name sets; a file has none."""
    name, _, _ = text.partition("@")
    return _option(name, "evaluate", {}) if (_OPTIONS / f"{name}.yaml").is_file() else {}


def _option(name: str, group: str = "benchmark", default: dict[str, Any] | None = None) -> dict[str, Any]:
    """A group of an option, merged onto the options in its defaults list, or onto ``default``.

    None: the defaults of :class:`BenchmarkConfig`.
    """
    file = _OPTIONS / f"{name}.yaml"
    own: Any = OmegaConf.load(file)
    if "@package _global_" not in file.read_text(encoding="utf-8"):  # it sets the group benchmark alone
        own = {"defaults": own.pop("defaults", []), "benchmark": own}
    parents = [_option(parent, group, default) for parent in own.get("defaults", [])]
    parents = parents or [asdict(BenchmarkConfig()) if default is None else default]
    merged: Any = OmegaConf.to_container(OmegaConf.merge(*parents, own.get(group, {})))
    return dict(merged)
