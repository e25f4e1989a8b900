"""Provenance of results: commit, versions and settings (docs/design.md, invariant Provenance)."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from src.config import Config, EvaluationConfig
from src.config.paths import ROOT
from src.run.disk import write_json
from src.run.records import CONFIG
from src.run.source_patch import difference, git


def commit() -> str | None:
    """Return the commit of the source tree, with ``-dirty`` when it differs; None outside git."""
    head = git(ROOT, "rev-parse", "HEAD")
    if head is None:  # an unpacked archive has no history; the summary has null
        return None
    return head.decode().strip() + ("-dirty" if git(ROOT, "status", "--porcelain") else "")


def config_hash(cfg: Config | EvaluationConfig) -> str:
    """Return 12 hex digits that identify the resolved configuration."""
    return hashlib.sha256(json.dumps(asdict(cfg), sort_keys=True).encode()).hexdigest()[:12]


def settings(cfg: Config | EvaluationConfig) -> dict[str, Any]:
    """Return the settings that are stored with every summary and figure."""
    if isinstance(cfg, Config):
        benchmark = cfg.data.heldout_name
        data_seed = cfg.data.seed
    else:
        benchmark, data_seed = cfg.benchmark.name, cfg.benchmark.seed
    return {
        "commit": commit(),
        "config_hash": config_hash(cfg),
        "model": cfg.model.path,
        "prompt_style": cfg.model.prompt_style,
        "prompt_template": cfg.model.prompt_template,
        "examples": cfg.model.examples or 0,
        "examples_seed": cfg.model.examples_seed or 0,
        "keep_prompt": cfg.data.keep_prompt if isinstance(cfg, Config) else cfg.benchmark.keep_prompt,
        "format": cfg.format,
        "benchmark": benchmark,
        **(_origin(cfg) if isinstance(cfg, EvaluationConfig) else {}),
        "shard": cfg.evaluate.shard,
        "k": cfg.evaluate.k,
        "temperature": cfg.evaluate.temperature,
        "top_p": cfg.evaluate.top_p,
        "budget": cfg.evaluate.budget,
        "max_tokens": cfg.rollout.max_tokens,
        "max_prompt_tokens": cfg.rollout.max_prompt_tokens,
        "seed": cfg.trainer.seed if isinstance(cfg, Config) else None,
        "evaluation_seed": cfg.evaluate.seed,
        "data_seed": data_seed,
    }


def _origin(cfg: EvaluationConfig) -> dict[str, Any]:
    origin = cfg.benchmark
    return {"dataset": origin.dataset, "revision": origin.revision, "benchmark_path": origin.path}


def changes(old: Any, new: Any, path: str = "") -> dict[str, tuple[Any, Any]]:
    """Return the leaves that differ between two nested dictionaries: dotted name -> (old, new)."""
    if isinstance(old, dict) and isinstance(new, dict):
        found: dict[str, tuple[Any, Any]] = {}
        for key in sorted(old.keys() | new.keys()):
            found |= changes(old.get(key), new.get(key), f"{path}.{key}".strip("."))
        return found
    return {path: (old, new)} if old != new else {}


def unchanged(cfg: Config | EvaluationConfig, run_dir: Path) -> bool:
    """Whether the folder's config.json has these settings."""
    try:
        return not changes(json.loads((run_dir / CONFIG).read_text()), json.loads(json.dumps(asdict(cfg))))
    except (OSError, ValueError):
        return False


def save(cfg: Config | EvaluationConfig, run_dir: Path) -> None:
    """Write config.json, packages.txt, difference.patch and machine.json into ``run_dir``."""
    run_dir.mkdir(parents=True, exist_ok=True)
    write_json(run_dir / CONFIG, asdict(cfg))
    names = {f"{item.name}=={item.version}" for item in distributions()}
    (run_dir / "packages.txt").write_text("\n".join(sorted(names, key=str.lower)) + "\n")
    (run_dir / "difference.patch").write_bytes(difference(ROOT))
    machine = {"python": platform.python_version(), "system": platform.platform(), "commit": commit()}
    write_json(run_dir / "machine.json", machine)
