"""Checks of the policy and its adapters; reads the description of an adapter's folder."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from src import config as c
from src.config.paths import ROOT, SMOLLM2
from src.config.schema import ConfigError, show
from src.launch.checks.model_files import resumed_config
from src.launch.checks.problems import nearby
from src.launch.made_first import warm_start_of

ADAPTER = "adapter_config.json"
ALL_LINEAR = "all-linear"
_HEADS = (
    "embed_tokens",
    "lm_head",
)  # as most models call them; src/policy/adapters.py refuses others once it sees them
# bfloat16 resolves a weight of 0.02 in steps of 2^-8 of its value; updates below half a step are lost.
_VISIBLE = 4e-5
_FIXED = ("rank", "alpha", "targets")  # settings that a resumed run cannot change


@dataclass(frozen=True)
class Base:
    """The model that an adapter was trained on: a folder or hub id, and its revision."""

    path: str  # empty: unknown
    revision: str | None


def base_of(path: str) -> Base | None:
    """Return the base of the adapter in the folder ``path``; None: it is not an adapter.

    Raises:
        ConfigError: the description of the adapter is damaged.
    """
    file = Path(path).expanduser() / ADAPTER
    if not file.is_file():
        return None
    try:
        description = json.loads(file.read_text())
        return Base(description.get("base_model_name_or_path") or "", description.get("revision"))
    except (ValueError, AttributeError):
        raise ConfigError(f"model.path={path}: its {ADAPTER} is damaged; use another checkpoint") from None


def weights_of(cfg: c.ModelConfig) -> tuple[str, str | None]:
    """Return folder or hub id, and revision, of a whole model: the policy, or its adapter's base."""
    base = base_of(cfg.path)
    return (cfg.path, cfg.revision) if base is None else (base.path, base.revision)


def base_fault(path: str, base: Base, at: str) -> str:
    """Return the fault of an adapter whose base does not exist."""
    return (
        f"{at}path={path}: this adapter's base model {show(base.path)} does not exist (paths are relative to "
        f"{Path.cwd()}); put it there, or correct base_model_name_or_path in {path}/{ADAPTER}"
    )


def model(cfg: c.ModelConfig, at: str) -> list[str]:
    """Return why there is no model at ``cfg.path``."""
    base = base_of(cfg.path)
    if base is not None:
        missing = model(replace(cfg, path=base.path), at)
        return [base_fault(cfg.path, base, at)] if missing else []
    folder = Path(cfg.path).expanduser()
    parent_exists = bool(folder.parent.name) and ((ROOT / folder.parent).is_dir() or folder.parent.is_dir())
    hub_like = len(folder.parts) <= 2 and not cfg.path.startswith(("/", ".", "~")) and not parent_exists
    if cfg.path and folder.is_dir():
        if not (folder / "config.json").is_file():
            return [
                f"{at}path={cfg.path}: this folder has no config.json, so it is not a model; give a folder "
                "written by save_pretrained, or a hub id"
            ]
        return []
    if warm_start_of(cfg.path) is not None:  # which makes it before a run begins
        return []
    if os.path.normpath(cfg.path) in (SMOLLM2, str(ROOT / SMOLLM2)):  # else it would be taken for a hub id
        return [f"{at}path={cfg.path}: this model is not made yet; run make model"]
    if cfg.path and hub_like:
        return []
    return [
        f"{at}path={cfg.path}: this folder does not exist (paths are relative to {Path.cwd()}); "
        + (nearby(folder) or "give a folder with a model, or a hub id such as Qwen/Qwen2.5-Math-7B")
    ]


def lora(cfg: c.LoRAConfig, at: str) -> list[str]:
    """Return the faults that can be found without loading the model."""
    if cfg.rank == 0:
        return []
    shown = f"{at}targets={show(cfg.targets)}"
    if not cfg.targets:
        return [f"{shown}: no module would have an adapter; give [{ALL_LINEAR}], or names such as q_proj"]
    if ALL_LINEAR in cfg.targets and len(cfg.targets) > 1:
        return [f"{shown}: {ALL_LINEAR} includes all modules; give it alone, or name modules"]
    heads = [target for target in cfg.targets if target.rpartition(".")[2] in _HEADS]
    return [head_fault(shown, head) for head in heads]


def head_fault(shown: str, target: str) -> str:
    """Return the fault of a target that is the embedding or the output head."""
    return (
        f"{shown}: {target} is the embedding or the output head; TRL uses the weight of the head directly, "
        f"so an adapter there would not be trained; name layers between them, or [{ALL_LINEAR}]"
    )


def training(cfg: c.Config, at: str) -> list[str]:
    """Return why the policy cannot be trained with ``cfg``."""
    return _precision(cfg, at) + _adapter(cfg, at)


def _precision(cfg: c.Config, at: str) -> list[str]:
    dtype, rate = cfg.model.dtype, cfg.trainer.learning_rate
    if dtype == "auto":
        return [
            f"{at}model.dtype=auto: only for evaluation; training needs float32, or bfloat16 with adapters"
        ]
    if dtype == "float32" or cfg.model.lora.rank or rate >= _VISIBLE:
        return []
    return [
        f"{at}model.dtype={dtype}: updates at {at}trainer.learning_rate={rate:g} are below the "
        f"resolution of 16-bit weights and would be lost; keep the weights in float32 and compute in "
        f"{at}trainer.autocast={dtype}, or train adapters ({at}model.lora.rank=64)"
    ]


def _adapter(cfg: c.Config, at: str) -> list[str]:
    if base_of(cfg.model.path) is not None:
        return [
            f"{at}model.path={cfg.model.path}: this is an adapter, but training starts from a full model; "
            f"resume its run with {at}trainer.resume=RUN, or write the merged model with python -m "
            f"src.merge_adapter model.path={cfg.model.path} output=FOLDER and start from it"
        ]
    earlier = _resumed(cfg.trainer.resume)
    if earlier is None or not (cfg.model.lora.rank or earlier["rank"]):
        return []
    now = asdict(cfg.model.lora)
    return [
        f"{at}model.lora.{name}={show(now[name])}: the resumed run has {show(earlier[name])}; resume it with "
        "that, or start a new run"
        for name in _FIXED
        if now[name] != earlier[name]
    ]


def _resumed(resume: str | None) -> dict[str, Any] | None:
    """Return ``model.lora`` of the run that is resumed, if any."""
    earlier = resumed_config(resume)
    if earlier is None:
        return None
    lora: dict[str, Any] = asdict(c.LoRAConfig()) | earlier["model"].get("lora", {})
    return lora


def evaluation(cfg: c.EvaluationConfig, at: str) -> list[str]:
    """Return the faults of an evaluation."""
    rank = cfg.model.lora.rank
    if rank == 0:
        return []
    return [
        f"{at}model.lora.rank={rank}: an evaluation trains no adapter; to evaluate one, set {at}model.path "
        f"to its folder, and leave {at}model.lora.rank=0"
    ]
