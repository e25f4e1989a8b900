"""Checks of ``python -m src.warm_start``, which trains a model from scratch or a given one."""

from __future__ import annotations

from dataclasses import asdict

from src import config as c
from src.config.schema import show
from src.config.warm_start import FROM_SCRATCH
from src.launch.checks import policy
from src.run.provenance import changes


def faults(cfg: c.WarmStartConfig, at: str) -> list[str]:
    """Return which settings would be ignored, and why the mini base policy would be overwritten."""
    default = c.WarmStartConfig()
    given = changes(asdict(default), asdict(cfg))
    if cfg.model.path is None:
        return [
            f"{at}{name}={show(value)}: only for a given model; give {at}model.path=MODEL, or leave it"
            for name, (_, value) in given.items()
            if name.startswith(("model.", "tune."))
        ]
    found = [
        f"{at}{name}={show(given[name][1])}: ignored with {at}model.path={cfg.model.path}, only for a policy "
        f"from scratch; leave it, and see the settings in {at}tune"
        for name in FROM_SCRATCH
        if name in given
    ]
    if cfg.output == default.output:
        found.append(f"{at}output={cfg.output}: is the mini base policy's; give {at}output=FOLDER")
    return found


def model(cfg: c.StartModelConfig, at: str) -> list[str]:
    """Return why a warm start cannot begin with ``cfg``; nothing if it begins with no model."""
    if cfg.path is None:
        return []
    found = policy.model(cfg, at)
    if policy.base_of(cfg.path) is not None:
        found.append(
            f"{at}path={cfg.path}: this is an adapter; merge it with python -m src.merge_adapter "
            f"model.path={cfg.path} output=FOLDER, and start from that"
        )
    if cfg.lora.rank:
        found.append(f"{at}lora.rank={cfg.lora.rank}: a warm start trains all weights; leave it 0")
    if cfg.dtype != "float32":
        found.append(
            f"{at}dtype={cfg.dtype}: a warm start keeps weights in float32; leave it, and compute in another "
            "with tune.autocast=bfloat16"
        )
    if cfg.max_positions is not None or cfg.rope:
        found.append(f"{at}max_positions and {at}rope: set them in the runs that follow; leave both null")
    return found
