"""``trainer.resume``: a resumed run keeps its settings, some of which may be changed.

If the command line gives only values (``trainer.resume=RUN trainer.steps=60``), they override the settings in
the run's ``config.json``. If it names options (``+experiment=mini``, ``tracking=none``), the configuration is
composed as for a new run, and must equal the run's. In both cases, settings that would change samples,
gradients or evaluations are refused, unless ``trainer.resume_force`` is set. Imports neither torch nor TRL.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from src import config as c
from src.config.command_line import Override, parsed
from src.config.schema import ConfigError, build, show
from src.run import checkpoints
from src.run.provenance import changes
from src.run.records import CONFIG, SUMMARY

# Settings that earlier versions recorded under other names, in the same group, or with other values.
RENAMED: dict[str, str] = {
    "engine.leave": "engine.min_active_fraction",
    "engine.vllm.max_sequences": "engine.vllm.max_num_seqs",
    "engine.vllm.gpu_memory": "engine.vllm.gpu_memory_utilization",
    "rollout.max_live": "rollout.max_concurrent",
    "curriculum.pressure": "curriculum.min_exhausted_rate",
    "curriculum.settled": "curriculum.max_reward_drift",
    "trainer.kl": "trainer.kl_coef",
    "trainer.entropy": "trainer.entropy_coef",
    "trainer.importance_max": "trainer.importance_sampling_max",
    "trainer.max_infrastructure": "trainer.max_infrastructure_failure_rate",
    "alarm.rules[].says": "alarm.rules[].message",
    "hardware.usable": "hardware.usable_memory_fraction",
    "hardware.training_utilisation": "hardware.training_mfu",
    "hardware.sampling_utilisation": "hardware.sampling_mfu",
}
RENAMED_VALUES: dict[tuple[str, Any], Any] = {("rollout.boundary", "fence"): "exact"}
# Given on the command line, never taken from the run.
_OF_THE_COMMAND = ("trainer.resume", "trainer.resume_force", "estimate")
# These change neither samples nor gradients nor evaluations; all other settings, also future ones, do.
SANDBOX_MAY_CHANGE = (
    *("sandbox.jail", "sandbox.workers", "sandbox.waiting", "sandbox.queue", "sandbox.sessions"),
    *("sandbox.start_seconds", "sandbox.deadline_seconds"),
    *("sandbox.docker.", "sandbox.ray.", "sandbox.sandbox_fusion."),
)
_MAY_CHANGE = (
    *("trainer.checkpoint_every", "trainer.keep_checkpoints", "trainer.rank_timeout"),
    *("trainer.max_infrastructure_failure_rate", "evaluate.phases", "evaluate.resume", "evaluate.shard"),
    "evaluate.every",
    "evaluate.max_infrastructure_failure_rate",
    *("records.", "tracking.", "alarm.", "hardware.", "reward.grade_workers", "reward.lenient"),
    *(
        "engine.server.",
        "engine.vllm.gpu_memory_utilization",
        "engine.vllm.cpu_memory_gb",
        "engine.vllm.sleep",
    ),
    *SANDBOX_MAY_CHANGE,
)
# Settings in which the shards of one evaluation may differ.
_OF_A_SHARD = (
    *(
        "evaluate.shard",
        "evaluate.resume",
        "evaluate.max_infrastructure_failure_rate",
        "engine.",
        "reward.grade_",
        "sandbox.backend",
        "tracking.",
    ),
    *SANDBOX_MAY_CHANGE,
)
# Values of the policy's settings that a run resolves, see src/policy/settle.py.
_OPEN = {
    "model.prompt_style": "auto",
    "model.prompt_template": None,
    "model.examples": None,
    "model.examples_seed": None,
    "model.max_positions": None,
    "model.rope": None,
}
# Checked in src/launch/checks/policy.py and src/launch/checks/style_and_format.py.
_CHECKED_ELSEWHERE = ("model.lora.rank", "model.lora.alpha", "model.lora.targets", "model.prompt_style")


def read_config(file: Path) -> dict[str, Any]:
    """Return the settings that a run has written to its ``config.json``, as they are called today.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON object.
    """
    config = json.loads(file.read_text())
    if not isinstance(config, dict):
        raise ValueError(f"{file} holds no JSON object")
    return renamed(config)


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
    """Return the folder of the run that ``trainer.resume`` names directly or by one of its checkpoints.

    Raises:
        CheckpointError: there is no complete checkpoint.
    """
    path = Path(resume).expanduser()
    checkpoint = checkpoints.resolve(path)
    return path if (path / "checkpoints").is_dir() else checkpoint.resolve().parent.parent


def renamed(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return recorded settings, as ``config.json`` has them, under their present names (:data:`RENAMED`)."""
    settings = deepcopy(dict(recorded))
    if "rollout" in settings:
        settings.setdefault("format", {"_target_": "src.formats.FenceFormat"})  # before there were others
    if "benchmark" in settings:
        settings.setdefault("tracking", {"mode": "none"})  # an evaluation that is older than it
    if "curriculum" in settings:
        settings.setdefault("records", {})  # a training run that is older than them
    for old, new in RENAMED.items():
        group, _, name = old.rpartition(".")
        for node in _groups(settings, group.split(".")):
            if name in node:
                node[new.rpartition(".")[2]] = node.pop(name)
    for (name, value), now in RENAMED_VALUES.items():
        group, _, leaf = name.rpartition(".")
        for node in _groups(settings, group.split(".")):
            if node.get(leaf) == value:
                node[leaf] = now
    for group in ("data", "data.heldout", "benchmark"):
        if settings.get(group.partition(".")[0], {}).get("kind") in c.GENERATED:
            for node in _groups(settings, group.split(".")):
                node.pop("fields", None)  # generated problems have none, and their defaults have changed
    return settings


def _groups(node: Any, path: list[str]) -> list[dict[str, Any]]:
    """Return the dictionaries at a dotted path below ``node``; ``name[]`` stands for each item of a list."""
    if not path:
        return [node] if isinstance(node, dict) else []
    child = node.get(path[0].removesuffix("[]")) if isinstance(node, dict) else None
    children = child if path[0].endswith("[]") and isinstance(child, list) else [child]
    return [found for node in children for found in _groups(node, path[1:])]


def resumed(config: DictConfig) -> Path | None:
    """Return the folder of the run that a configuration resumes; None if there is none."""
    resume = OmegaConf.select(config, "trainer.resume", default=None)
    try:
        return run_of(resume) if isinstance(resume, str) else None
    except checkpoints.CheckpointError:
        return None  # reported by src.launch.checks


def configuration(schema: type, config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Return the configuration that a program runs with.

    Args:
        schema: dataclass of the whole configuration.
        config: as composed by Hydra.
        overrides: of the composition.

    Raises:
        ConfigError: the settings of the resumed run are missing, or cannot be read by this version.
    """
    run = resumed(config) if schema is c.Config else None
    if run is None:
        return config
    given = parsed(overrides)
    if any(map(_is_option, given)):
        return config
    base = OmegaConf.create(_recorded(run, config.trainer.resume, config))
    for override in given:
        name = override.key_or_group
        if override.is_delete():
            raise ConfigError(f"~{name}: a resumed run keeps its settings; give a value instead")
        OmegaConf.update(base, name, override.value(), merge=True, force_add=True)
    for name in _OF_THE_COMMAND:
        OmegaConf.update(base, name, OmegaConf.select(config, name))
    return base


def faults(cfg: c.Config, at: str) -> list[str]:
    """Return why the run cannot be resumed with ``cfg``."""
    resume = cfg.trainer.resume
    if resume is None:
        return []
    try:
        checkpoint = checkpoints.resolve(Path(resume).expanduser())
        run, step = run_of(resume), checkpoints.step_of(checkpoint)
    except checkpoints.CheckpointError:
        return []  # reported elsewhere
    found = []
    if cfg.trainer.steps < step or (cfg.trainer.steps == step and _is_finished(run, cfg)):
        found.append(
            f"{at}trainer.steps={cfg.trainer.steps}: {checkpoint} is at step {step}; give more steps, or "
            "resume from an earlier checkpoint"
        )
    if cfg.trainer.resume_force:
        return found
    try:
        breaking = [change for change in differences(cfg, run) if not _may_change(change[0], cfg)]
    except ConfigError as error:
        return [*found, *error.faults]
    return found + [
        f"{at}{name}={show(new)}: the resumed run has {show(old)}; resume it with {at}trainer.resume="
        f"{resume} alone, or override this with {at}trainer.resume_force=true"
        for name, old, new in breaking
        if not name.startswith(_CHECKED_ELSEWHERE)
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
    take_open(before, now)
    return [
        (name, old, new)
        for name, (old, new) in changes(before, now).items()
        if name not in _OF_THE_COMMAND and not _is_settled(name, old, new)
    ]


def take_open(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Settle in ``before`` what its run left open: the format as in ``now``, no examples."""
    for name in ("examples", "examples_seed"):
        before["model"][name] = before["model"][name] or 0  # of a run that is older than them
    if "auto" in (before["format"].get("_target_"), now["format"].get("_target_")):
        before["format"] = now["format"]


def _is_settled(name: str, old: Any, new: Any) -> bool:
    """Whether one of the two values is unresolved and the other resolves it."""
    return name in _OPEN and _OPEN[name] in (old, new)


def _is_option(given: Override) -> bool:
    """Whether an override chooses options of a group or experiments, rather than a value."""
    name = given.key_or_group
    return "." not in name and name not in _OF_THE_COMMAND and isinstance(given.value(), str | list)


def _recorded(run: Path, resume: str, otherwise: DictConfig | dict[str, Any]) -> dict[str, Any]:
    """Return the recorded settings of a run, with defaults for settings that are newer than the run.

    Args:
        run: its folder.
        resume: as given.
        otherwise: settings for groups that the run does not have at all.
    """
    file = run / CONFIG
    try:
        values = read_config(file)
    except FileNotFoundError:
        raise ConfigError(
            f"trainer.resume={resume}: {run} has no {CONFIG}, so its settings are unknown; give the folder "
            "of a run, or a checkpoint in it"
        ) from None
    except ValueError:
        raise ConfigError(
            f"trainer.resume={resume}: {file} is damaged, so the run's settings are unknown; give the "
            f"command that started it, with trainer.resume={resume} trainer.resume_force=true"
        ) from None
    if isinstance(otherwise, DictConfig):
        otherwise = dict(OmegaConf.to_container(otherwise, resolve=False))  # type: ignore[arg-type]
    try:
        return asdict(build(c.Config, {**otherwise, **renamed(values)}))
    except ConfigError as error:
        raise ConfigError(
            *(f"{file}: {fault} (written by another version; resume with that)" for fault in error.faults)
        ) from None


def _may_change(name: str, cfg: c.Config) -> bool:
    if name == "trainer.steps":
        return cfg.trainer.lr_schedule == "constant"  # other schedules depend on the last step
    if name == "reward.overlong_tokens":
        return cfg.reward.overlong == 0
    return name.startswith(_MAY_CHANGE)


def _is_finished(run: Path, cfg: c.Config) -> bool:
    """Whether the run has finished its last evaluation, too."""
    try:
        summary = json.loads((run / SUMMARY).read_text())
    except (OSError, ValueError):
        return False
    return summary.get("steps") == cfg.trainer.steps and set(cfg.evaluate.phases) <= summary.keys()
