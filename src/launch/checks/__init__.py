"""Checks across fields, before anything expensive: impossible combinations and missing paths.

Entry points call :func:`load`. The checks of a group are registered for its dataclass, so that every entry
point whose schema contains the group runs them. Imports neither torch nor TRL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, TypeVar

from omegaconf import DictConfig

from src import config as c
from src.config.schema import ConfigError, build, show
from src.launch import resumption
from src.launch.checks import (
    extensions,
    mounts,
    policy,
    positions,
    problems,
    prompts,
    regrade,
    replay,
    sampling,
    style_and_format,
    trainer,
    warm_start,
)

C = TypeVar("C")


def load(schema: type[C], config: DictConfig | dict[str, Any], given: Iterable[str] = ()) -> C:
    """Return the typed and checked configuration.

    Args:
        schema: dataclass of the whole configuration.
        config: as composed.
        given: dotted names of the settings on the command line, none of which may be ignored.

    Raises:
        ConfigError: every fault found; combinations are checked only if each value is valid by itself.
    """
    typed = build(schema, config)
    faults = sampling.overridden(schema, given) or check(typed)
    if faults:
        raise ConfigError(*faults)
    return typed


def check(node: Any, path: str = "") -> list[str]:
    """Return the faults of ``node`` and of the dataclasses in it; ``path`` is its dotted name."""
    faults: list[str] = []
    for setting in fields(node):
        value = getattr(node, setting.name)
        if is_dataclass(value):
            faults += check(value, f"{path}{setting.name}.")
    if type(node) in _CHECKS:
        faults += _CHECKS[type(node)](node, path)
    return faults


def _rollout(cfg: c.RolloutConfig, at: str) -> list[str]:
    if cfg.mode == "code" and not cfg.tools:
        return [
            f"{at}tools=false: {at}mode=code forces code, which would never run; set {at}tools=true, or "
            f"{at}mode=text"
        ]
    return []


def _engine(cfg: c.EngineConfig, at: str) -> list[str]:
    faults = []
    if cfg.kind == "vllm_server" and not re.match(r"https?://[^/]", cfg.server.url):
        faults.append(
            f"{at}server.url={cfg.server.url}: expected the address of a vLLM server, such as "
            "http://localhost:8000"
        )
    return faults


def _installed(cfg: c.Config | c.EvaluationConfig, at: str) -> list[str]:
    if cfg.engine.kind == "vllm" and find_spec("vllm") is None:
        return [
            f"{at}engine.kind=vllm: vLLM is not installed; install it with make setup-vllm, or choose "
            "engine=transformers"
        ]
    return []


def _sandbox(cfg: c.SandboxConfig, at: str) -> list[str]:
    faults = mounts.faults(cfg, at)
    if not cfg.undo and cfg.state != "session":
        faults.append(
            f"{at}undo=false: with {at}state={cfg.state} a failed program leaves nothing behind; choose "
            f"{at}state=session, or leave {at}undo=true"
        )
    cpus = cfg.ray.cpus_per_worker
    if cfg.backend == "ray" and cpus > 1 and cpus != int(cpus):
        faults.append(
            f"{at}ray.cpus_per_worker={cpus:g}: Ray schedules fractions of one CPU, or whole CPUs; give "
            f"{int(cpus)} or {int(cpus) + 1}"
        )
    if cfg.backend != "sandbox_fusion":
        return faults
    url = cfg.sandbox_fusion.url
    if url is None:
        faults.append(
            f"{at}sandbox_fusion.url=null: {at}backend=sandbox_fusion needs it; give "
            f"{at}sandbox_fusion.url=http://HOST:PORT"
        )
    elif not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", url):
        faults.append(
            f"{at}sandbox_fusion.url={show(url)}: not the address of a service; give http://HOST:PORT"
        )
    if cfg.state == "session":
        faults.append(
            f"{at}state=session: {at}backend=sandbox_fusion keeps no process alive between programs; choose "
            f"{at}state=replay"
        )
    if cfg.jail != "auto":
        faults.append(
            f"{at}jail={cfg.jail}: with {at}backend=sandbox_fusion the service isolates programs; leave "
            f"{at}jail=auto"
        )
    return faults


def _curriculum(cfg: c.CurriculumConfig, at: str) -> list[str]:
    if cfg.kind == "adaptive" and cfg.start > cfg.budget:
        return [
            f"{at}start={cfg.start}: an adaptive budget only rises, up to {at}budget={cfg.budget}; give "
            f"{at}start={cfg.budget} at most"
        ]
    if cfg.kind != "staged":
        return []
    steps = [stage.step for stage in cfg.stages]
    shown = f"{at}stages=[{', '.join(f'{stage.budget} at {stage.step}' for stage in cfg.stages)}]"
    if not steps or steps[0] != 0:
        return [f"{shown}: the budget at step 0 is missing; give the first stage step 0"]
    if any(later <= earlier for earlier, later in pairwise(steps)):
        ordered = sorted(set(steps))
        return [f"{shown}: steps must increase; give each step once, in the order {ordered}"]
    return []


def _alarm(cfg: c.AlarmConfig, at: str) -> list[str]:
    faults = []
    for index, rule in enumerate(cfg.rules):
        if (rule.above is None) == (rule.below is None):
            faults.append(
                f"{at}rules[{index}] ({rule.name}): above={show(rule.above)}, below={show(rule.below)}; give "
                "exactly one of them"
            )
    names = [rule.name for rule in cfg.rules]
    for name in sorted({name for name in names if names.count(name) > 1}):
        faults.append(f"{at}rules: several rules have the name {name}; give each its own")
    return faults


def _tracking(cfg: c.TrackingConfig, at: str) -> list[str]:
    faults = [
        f"{at}{name}={show(values)}: give each once"
        for name, values in (("backends", cfg.backends), ("artifacts", cfg.artifacts))
        if len(set(values)) < len(values)
    ]
    if not cfg.backends and cfg.mode != "none":
        faults.append(f"{at}backends=[]: nothing would be logged; choose tracking=none")
    return faults


def _evaluate(cfg: c.EvaluateConfig, at: str) -> list[str]:
    faults = []
    if len(set(cfg.modes)) < len(cfg.modes):
        faults.append(f"{at}modes={show(cfg.modes)}: give each mode once")
    if len(set(cfg.phases)) < len(cfg.phases):
        faults.append(f"{at}phases={show(cfg.phases)}: give each phase once")
    if not cfg.phases:
        faults.append(f"{at}phases=[]: a run without an evaluation has no result; give {at}phases=[after]")
    faults += sampling.repeats(cfg.k, cfg.temperature, at) + problems.periodic(cfg, at)
    if cfg.shard is not None:
        match = re.fullmatch(r"(\d+)/(\d+)", cfg.shard)
        if not match or int(match[1]) >= int(match[2]):
            faults.append(
                f"{at}shard={cfg.shard}: expected I/N with 0 <= I < N, such as 0/4, 1/4, 2/4 and 3/4"
            )
    return faults


def _evaluation(cfg: c.EvaluationConfig, at: str) -> list[str]:
    faults = _installed(cfg, at) + policy.evaluation(cfg, at) + style_and_format.run(cfg, None, at)
    faults += (
        prompts.evaluation(cfg, at)
        + sampling.evaluation(cfg, at)
        + sampling.overlong(cfg, at)
        + extensions.faults(cfg, at)
    )
    faults += mounts.answers(cfg.sandbox, {"benchmark.path": cfg.benchmark.path}, at)
    for name in ("phases", "every", "benchmarks"):
        if (value := getattr(cfg.evaluate, name)) != getattr(c.EvaluateConfig(), name):
            shown = value if name != "benchmarks" else [one.benchmark for one in cfg.evaluate.benchmarks]
            faults.append(
                f"{at}evaluate.{name}={show(shown)}: only for training runs; remove it"
                + (", and choose benchmark=NAME" if name == "benchmarks" else "")
            )
    return faults


def _run(cfg: c.Config, at: str) -> list[str]:
    faults = []
    needed = cfg.trainer.batch_size // cfg.trainer.samples_per_prompt
    if cfg.data.kind in c.GENERATED and needed > cfg.data.train_size:
        faults.append(
            f"{at}data.train_size={cfg.data.train_size}: one rollout step takes {needed} problems "
            f"({at}trainer.batch_size={cfg.trainer.batch_size} / {at}trainer.samples_per_prompt="
            f"{cfg.trainer.samples_per_prompt}); give at least as many"
        )
    if cfg.data.kind == "file" and cfg.data.train_path is None:
        faults.append(f"{at}data.train_path=null: training needs it; give {at}data.train_path=FILE")
    if cfg.evaluate.shard is not None:
        faults.append(
            f"{at}evaluate.shard={cfg.evaluate.shard}: a training run evaluates all problems; leave it null, "
            "or evaluate the checkpoint in shards with python -m src.evaluate"
        )
    if cfg.evaluate.resume:
        faults.append(
            f"{at}evaluate.resume=true: only for python -m src.evaluate; resume a training run with "
            f"{at}trainer.resume=RUN"
        )
    if cfg.trainer.skip_zero_advantage and cfg.records.tokens:
        faults.append(
            f"{at}records.tokens=true: with {at}trainer.skip_zero_advantage=true some tokens have no logprob "
            "to record; choose one of the two"
        )
    if not cfg.estimate:
        faults += _installed(cfg, at)
    faults += (
        prompts.training(cfg, at)
        + sampling.training(cfg, at)
        + sampling.overlong(cfg, at)
        + resumption.faults(cfg, at)
    )
    faults += extensions.faults(cfg, at)
    paths = {
        "data.train_path": cfg.data.train_path,
        "data.heldout_path": cfg.data.heldout_path,
        "data.heldout.benchmark": (cfg.data.heldout.benchmark or "").partition("@")[2] or None,
    }
    # OPTION@FILE, or a file
    named = {f"data.clean.against[{i}]": text for i, text in enumerate(cfg.data.clean.against)}
    named |= {f"evaluate.benchmarks[{i}]": one.benchmark for i, one in enumerate(cfg.evaluate.benchmarks)}
    paths |= {name: text.partition("@")[2] or text for name, text in named.items()}
    faults += mounts.answers(cfg.sandbox, paths, at)
    faults += style_and_format.run(cfg, cfg.trainer.resume, at)
    return faults + _colocated(cfg, at) + policy.training(cfg, at)


def _colocated(cfg: c.Config, at: str) -> list[str]:
    vllm = cfg.engine.vllm
    if cfg.engine.kind in ("vllm", "auto") and vllm.tensor_parallel_size > 1:
        return [
            f"{at}engine.vllm.tensor_parallel_size={vllm.tensor_parallel_size}: in training every rank "
            "would have to issue the same requests in the same order, but rollouts overlap with program "
            f"executions; set it to 1, or start a vLLM server with that many GPUs and choose "
            "engine=vllm_server"
        ]
    return []


_CHECKS: dict[type, Callable[[Any, str], list[str]]] = {
    c.ModelConfig: lambda cfg, at: policy.model(cfg, at) + positions.rope(cfg, at),
    c.StartModelConfig: warm_start.model,
    c.LoRAConfig: policy.lora,
    c.DataConfig: problems.data,
    c.BenchmarkConfig: problems.benchmark,
    c.EngineConfig: _engine,
    c.RolloutConfig: _rollout,
    c.SandboxConfig: _sandbox,
    c.CurriculumConfig: _curriculum,
    c.RewardConfig: sampling.reward,
    c.TrainerConfig: trainer.trainer,
    c.AlarmConfig: _alarm,
    c.EvaluateConfig: _evaluate,
    c.TrackingConfig: _tracking,
    c.Config: _run,
    c.EvaluationConfig: _evaluation,
    c.RegradeConfig: regrade.faults,
    c.ReplayConfig: replay.faults,
    c.WarmStartConfig: warm_start.faults,
}
