"""Checks of low-rank adapters, see src/checks.py; and what an adapter's folder says of itself."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from src import checkpoints
from src import config as c
from src.schema import ConfigError, show

ADAPTER = "adapter_config.json"
ALL_LINEAR = "all-linear"
_HEADS = ("embed_tokens", "lm_head")  # as most models call them; src/lora.py refuses others once it sees them
_FIXED = ("rank", "alpha", "targets")  # what a resumed run cannot change


@dataclass(frozen=True)
class Base:
    """The model that an adapter was trained on: a folder or hub id, and its revision."""

    path: str  # empty: the adapter does not say
    revision: str | None


def base_of(path: str) -> Base | None:
    """Return the base of the adapter in the folder ``path``, or None if no adapter is there.

    Raises:
        ConfigError: the adapter does not describe itself.
    """
    file = Path(path).expanduser() / ADAPTER
    if not file.is_file():
        return None
    try:
        says = json.loads(file.read_text())
        return Base(says.get("base_model_name_or_path") or "", says.get("revision"))
    except (ValueError, AttributeError):
        raise ConfigError(f"model.path={path}: its {ADAPTER} is damaged; take another checkpoint") from None


def base_fault(path: str, base: Base, at: str) -> str:
    """Return the fault of an adapter whose base is not there."""
    return (
        f"{at}path={path}: this adapter's base model is not there: {show(base.path)} (paths start from "
        f"{Path.cwd()}); put it there, or mend base_model_name_or_path in {path}/{ADAPTER}"
    )


def lora(cfg: c.LoRAConfig, at: str) -> list[str]:
    """Return the faults that can be seen before a model is loaded."""
    if cfg.rank == 0:
        return []
    shown = f"{at}targets={show(cfg.targets)}"
    if not cfg.targets:
        return [f"{shown}: no module would have an adapter; give [{ALL_LINEAR}], or names such as q_proj"]
    if ALL_LINEAR in cfg.targets and len(cfg.targets) > 1:
        return [f"{shown}: {ALL_LINEAR} means them all; give it alone, or name modules"]
    heads = [target for target in cfg.targets if target.rpartition(".")[2] in _HEADS]
    return [head_fault(shown, head) for head in heads]


def head_fault(shown: str, target: str) -> str:
    """Return the fault of a target that is the embedding or the output head."""
    return (
        f"{shown}: {target} is the embedding or the output head; TRL multiplies by the head's own weight, so "
        f"that an adapter there would not be trained; name layers between them, or [{ALL_LINEAR}]"
    )


def training(cfg: c.Config, at: str) -> list[str]:
    """Return why an adapter cannot be trained from here."""
    if base_of(cfg.model.path) is not None:
        return [
            f"{at}model.path={cfg.model.path}: this is an adapter, and training starts from a whole model; "
            f"go on with its run by {at}trainer.resume=RUN, or write the whole model with python -m "
            f"src.merge_adapter model.path={cfg.model.path} output=FOLDER and start from that"
        ]
    earlier = _resumed(cfg.trainer.resume)
    if earlier is None or not (cfg.model.lora.rank or earlier["rank"]):
        return []
    now = asdict(cfg.model.lora)
    return [
        f"{at}model.lora.{name}={show(now[name])}: the run that is resumed has {show(earlier[name])}; resume "
        "it with that, or start anew"
        for name in _FIXED
        if now[name] != earlier[name]
    ]


def _resumed(resume: str | None) -> dict[str, Any] | None:
    """Return ``model.lora`` of the run that is resumed, if any."""
    if resume is None:
        return None
    try:
        run = checkpoints.resolve(Path(resume).expanduser()).parent.parent
        earlier = json.loads((run / "config.json").read_text())
    except (checkpoints.CheckpointError, OSError):
        return None  # said elsewhere
    lora: dict[str, Any] = asdict(c.LoRAConfig()) | earlier["model"].get("lora", {})
    return lora


def evaluation(cfg: c.EvaluationConfig, at: str) -> list[str]:
    """Return the faults of an evaluation."""
    rank = cfg.model.lora.rank
    if rank == 0:
        return []
    return [
        f"{at}model.lora.rank={rank}: an evaluation trains no adapter, and takes one from {at}model.path if "
        f"that is an adapter's folder; leave {at}model.lora.rank=0"
    ]
