"""``trainer.resume``: the settings of a run that goes on are its own, and what may be changed of them.

If the command line gives values only (``trainer.resume=RUN trainer.steps=60``), they are put upon the
settings that the run has written to its ``config.json``. If it names options (``+experiment=mini``,
``tracking=none``), it is composed as at a start, and the whole must be what the run has. What makes
samples, gradients or evaluations others than those of the run is refused in either case, unless
``trainer.resume_force`` is set. Neither torch nor TRL is imported.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import reduce
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from src import config as c
from src.config.command_line import Override, parsed
from src.config.schema import ConfigError, build, show
from src.run import checkpoints
from src.run.provenance import changes
from src.run.records import CONFIG, SUMMARY

# What older versions have written: dotted name -> that of today; (name of today, value) -> value of today.
RENAMED: dict[str, str] = {}
RENAMED_VALUES: dict[tuple[str, Any], Any] = {("rollout.boundary", "fence"): "exact"}
# Of the command, never of the run.
_OF_THE_COMMAND = ("trainer.resume", "trainer.resume_force", "estimate")
# What changes neither samples nor gradients nor what is evaluated; whatever else there is, or will be, does.
_MAY_CHANGE = (
    *("trainer.checkpoint_every", "trainer.keep_checkpoints", "trainer.rank_timeout"),
    *("trainer.max_infrastructure", "evaluate.phases", "evaluate.resume", "evaluate.shard"),
    *("tracking.", "alarm.", "hardware.", "reward.grade_workers"),
    *("engine.server.", "engine.vllm.gpu_memory", "engine.vllm.cpu_memory_gb", "engine.vllm.sleep"),
    *("sandbox.jail", "sandbox.workers", "sandbox.waiting", "sandbox.queue", "sandbox.sessions"),
    *("sandbox.start_seconds", "sandbox.deadline_seconds"),
    *("sandbox.docker.", "sandbox.ray.", "sandbox.sandbox_fusion."),
)
# In what the shards of one evaluation may differ.
_OF_A_SHARD = ("evaluate.shard", "evaluate.resume", "engine.", "sandbox.", "reward.grade_")
# What a run settles of its policy, where these leave it open: see src/policy/settle.py.
_OPEN = {"model.prompt_style": "auto", "model.max_positions": None, "model.rope": None}
# By src/launch/checks/policy.py and src/launch/checks/style_and_format.py.
_SAID_ELSEWHERE = ("model.lora.rank", "model.lora.alpha", "model.lora.targets", "model.prompt_style")


def read_config(file: Path) -> dict[str, Any]:
    """Return the settings that a run has written to its ``config.json``, as they are called today.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON object.
    """
    config = json.loads(file.read_text())
    if not isinstance(config, dict):
        raise ValueError(f"{file} holds no JSON object")
    for old, new in RENAMED.items():
        group, _, leaf = old.rpartition(".")
        if leaf in (known := _group(config, group)):
            *groups, renamed = new.split(".")
            reduce(lambda at, key: at.setdefault(key, {}), groups, config)[renamed] = known.pop(leaf)
    for (name, value), now in RENAMED_VALUES.items():
        group, _, leaf = name.rpartition(".")
        if (known := _group(config, group)).get(leaf) == value:
            known[leaf] = now
    return config


def _group(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the group of a dotted name; an empty one, no part of ``config``, where there is none."""
    for key in filter(None, name.split(".")):
        found = config.get(key)
        config = found if isinstance(found, dict) else {}
    return config


def read_shards(folders: Sequence[Path]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the settings of an evaluation's shards, and how others than the first differ from it."""
    configs = [read_config(folder / CONFIG) for folder in folders]
    return configs, [
        f"folders: {folder} was made with {name}={new}, {folders[0]} with {old}"
        for folder, config in zip(folders, configs, strict=True)
        for name, (old, new) in changes(configs[0], config).items()
        if not name.startswith(_OF_A_SHARD)
    ]


def run_of(resume: str) -> Path:
    """Return the folder of the run that ``trainer.resume`` names, by itself or by one of its checkpoints.

    Raises:
        CheckpointError: there is no complete checkpoint.
    """
    path = Path(resume).expanduser()
    checkpoint = checkpoints.resolve(path)
    return path if (path / "checkpoints").is_dir() else checkpoint.resolve().parent.parent


def resumed(config: DictConfig) -> Path | None:
    """Return the folder of the run that a configuration resumes; None if it resumes none, or none can be."""
    resume = OmegaConf.select(config, "trainer.resume", default=None)
    try:
        return run_of(resume) if isinstance(resume, str) else None
    except checkpoints.CheckpointError:
        return None  # src.launch.checks says why


def configuration(schema: type, config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Return the configuration that a program runs with.

    Args:
        schema: dataclass of the whole configuration.
        config: what Hydra has composed.
        overrides: what it was composed with.

    Raises:
        ConfigError: it resumes a run whose settings are not known, or cannot be read by this version.
    """
    run = resumed(config) if schema is c.Config else None
    if run is None:
        return config
    given = parsed(overrides)
    if any(map(_is_option, given)):
        return config
    base = OmegaConf.create(_recorded(run, config.trainer.resume, config))
    for one in given:
        name = one.key_or_group
        if one.is_delete():
            raise ConfigError(f"~{name}: a run that is resumed keeps its settings; give a value instead")
        OmegaConf.update(base, name, one.value(), merge=True, force_add=True)
    for name in _OF_THE_COMMAND:
        OmegaConf.update(base, name, OmegaConf.select(config, name))
    return base


def faults(cfg: c.Config, at: str) -> list[str]:
    """Return why the run that ``cfg`` resumes cannot go on so."""
    resume = cfg.trainer.resume
    if resume is None:
        return []
    try:
        checkpoint = checkpoints.resolve(Path(resume).expanduser())
        run, step = run_of(resume), checkpoints.step_of(checkpoint)
    except checkpoints.CheckpointError:
        return []  # said elsewhere
    found = []
    if cfg.trainer.steps < step or (cfg.trainer.steps == step and _is_finished(run, cfg)):
        found.append(
            f"{at}trainer.steps={cfg.trainer.steps}: {step} steps are behind {checkpoint}; give more, or "
            "resume from an earlier checkpoint"
        )
    if cfg.trainer.resume_force:
        return found
    try:
        breaking = [one for one in differences(cfg, run) if not _may_change(one[0], cfg)]
    except ConfigError as error:
        return [*found, *error.faults]
    return found + [
        f"{at}{name}={show(new)}: the run that is resumed has {show(old)}; resume it by {at}trainer.resume="
        f"{resume} alone, or make another run of it by {at}trainer.resume_force=true"
        for name, old, new in breaking
        if not name.startswith(_SAID_ELSEWHERE)
    ]


def differences(cfg: c.Config, run: Path) -> list[tuple[str, Any, Any]]:
    """Return each setting that differs from the run's: its dotted name, the run's value and that of ``cfg``.

    Raises:
        ConfigError: the settings of the run cannot be read by this version.
    """
    if not (run / CONFIG).is_file():
        return []
    now = asdict(cfg)
    before = _recorded(run, str(cfg.trainer.resume), now)
    take_open_format(before, now)
    return [
        (name, old, new)
        for name, (old, new) in changes(before, now).items()
        if name not in _OF_THE_COMMAND and not _is_settled(name, old, new)
    ]


def take_open_format(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Let ``before`` have the format of ``now``, where one of the two leaves it open."""
    if "auto" in (before["format"].get("_target_"), now["format"].get("_target_")):
        before["format"] = now["format"]


def _is_settled(name: str, old: Any, new: Any) -> bool:
    """Whether one of two values leaves open what the other settles."""
    return name in _OPEN and _OPEN[name] in (old, new)


def _is_option(given: Override) -> bool:
    """Whether an override chooses options of a group, or experiments, and is no value."""
    name = given.key_or_group
    return "." not in name and name not in _OF_THE_COMMAND and isinstance(given.value(), str | list)


def _recorded(run: Path, resume: str, otherwise: DictConfig | dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a run; what this version has got since has its default.

    Args:
        run: its folder.
        resume: as given.
        otherwise: gives the groups that the run does not have at all.
    """
    file = run / CONFIG
    try:
        values = read_config(file)
    except FileNotFoundError:
        raise ConfigError(
            f"trainer.resume={resume}: {run} has no {CONFIG}, so that its settings are not known; give the "
            "folder of a run, or a checkpoint in it"
        ) from None
    except ValueError:
        raise ConfigError(f"trainer.resume={resume}: {file} is damaged; its settings are not known") from None
    if isinstance(otherwise, DictConfig):
        otherwise = dict(OmegaConf.to_container(otherwise, resolve=False))  # type: ignore[arg-type]
    try:
        return asdict(build(c.Config, {**otherwise, **values}))
    except ConfigError as error:
        raise ConfigError(
            *(f"{file}: {fault} (another version wrote it: resume with that)" for fault in error.faults)
        ) from None


def _may_change(name: str, cfg: c.Config) -> bool:
    if name == "trainer.steps":
        return cfg.trainer.lr_schedule == "constant"  # the others end at the last step
    if name == "reward.overlong_tokens":
        return cfg.reward.overlong == 0
    return name.startswith(_MAY_CHANGE)


def _is_finished(run: Path, cfg: c.Config) -> bool:
    """Whether nothing is left to do after the last step: a run may be killed in its last evaluation."""
    try:
        summary = json.loads((run / SUMMARY).read_text())
    except (OSError, ValueError):
        return False
    return summary.get("steps") == cfg.trainer.steps and set(cfg.evaluate.phases) <= summary.keys()
