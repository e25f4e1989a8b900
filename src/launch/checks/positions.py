"""Checks that a trajectory fits into the model's context length, counted as config.json and vLLM do."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from src import config as c
from src.config.schema import show
from src.launch.checks.model_files import config_of
from src.launch.checks.policy import weights_of

# Names in config.json by model family; vLLM takes the smallest, but Cohere's model_max_length first.
_NAMES = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
_COHERE = "model_max_length"
_UNSCALED = ("su", "longrope", "llama3")  # for these, config.json already has the extended length
ROPE_TYPES = ("default", "linear", "dynamic", "yarn", "longrope", "llama3")
ROPE_KEYS = (
    "rope_type",
    "rope_theta",
    "factor",
    "original_max_position_embeddings",
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
    "truncate",
    "short_factor",
    "long_factor",
    "low_freq_factor",
    "high_freq_factor",
    "partial_rotary_factor",
)


@dataclass(frozen=True)
class Positions:
    """The context length of a model, and where it comes from."""

    number: int
    source: str


def positions(config: Mapping[str, Any], cfg: c.ModelConfig) -> Positions | None:
    """Return the context length of a model; None: unknown.

    Args:
        config: its config.json.
        cfg: ``max_positions`` and ``rope`` that override it.
    """
    text = config.get("text_config") or config
    found = {name: text[name] for name in _NAMES if isinstance(text.get(name), int)}
    if isinstance(text.get(_COHERE), int):
        found = {_COHERE: text[_COHERE]}
    if not found:
        return None if cfg.max_positions is None else Positions(cfg.max_positions, "model.max_positions")
    name = min(found, key=lambda key: found[key])
    source, number = f"{name} in its config.json", found[name]
    if cfg.max_positions is not None:
        source, number = "model.max_positions", cfg.max_positions
    if "gemma3" in str(text.get("model_type")):  # already scaled
        return Positions(number, source)
    for rope in _ropes(text, cfg.rope):
        kind = rope.get("rope_type", rope.get("type", "default"))
        factor = rope.get("factor")
        if kind in _UNSCALED or not isinstance(factor, int | float) or factor == 1:
            continue
        if kind == "yarn":
            original = rope.get("original_max_position_embeddings", found[name])
            source, number = "rope_parameters of type yarn", original
        return Positions(int(number * factor), f"{source}, times their factor of {factor:g}")
    return Positions(number, source)


def _ropes(text: Mapping[str, Any], own: Mapping[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Yield the RoPE parameters of each kind of layer; older files call them rope_scaling."""
    given = text.get("rope_parameters") or text.get("rope_scaling") or {}
    nested = [parameters for parameters in given.values() if isinstance(parameters, Mapping)]
    for parameters in nested or [given]:
        yield {**parameters, **(own or {})}


def faults(cfg: c.Config | c.EvaluationConfig, model: c.ModelConfig, at: str) -> list[str]:
    """Return why trajectories do not fit, as far as files on this machine tell.

    Args:
        cfg: of training or evaluation.
        model: settings of its policy, resolved.
        at: dotted name of ``cfg``.
    """
    path, revision = weights_of(model)
    config = config_of(path, revision) if path else None
    return [] if config is None else too_long(config, model, cfg.rollout, at)


def too_long(config: Mapping[str, Any], model: c.ModelConfig, rollout: c.RolloutConfig, at: str) -> list[str]:
    """Return why trajectories do not fit into the context length of the model with this config.json."""
    found = positions(config, model)
    prompt, completion = rollout.max_prompt_tokens, rollout.max_tokens
    if found is None or prompt + completion <= found.number:
        return []
    lower = [
        f"{at}rollout.{name}={found.number - other}"
        for name, other in (("max_tokens", prompt), ("max_prompt_tokens", completion))
        if found.number > other
    ]
    fitting = " or ".join(lower) or f"{at}rollout.max_tokens and {at}rollout.max_prompt_tokens together"
    return [
        f"{at}rollout.max_tokens={completion}: with {at}rollout.max_prompt_tokens={prompt} a trajectory may "
        f"have {prompt + completion} tokens, but {at}model.path={model.path} has {found.number} positions "
        f"({found.source}); lower {fitting} to fit, or extend it with "
        f"{at}model.max_positions={prompt + completion} (and RoPE scaling in {at}model.rope)"
    ]


def rope(cfg: c.ModelConfig, at: str) -> list[str]:
    """Return the faults of ``rope``, since transformers only warns about unknown keys."""
    found = []
    for key, value in (cfg.rope or {}).items():
        shown = f"{at}rope.{key}={show(value)}"
        if key not in ROPE_KEYS:
            near = difflib.get_close_matches(key, ROPE_KEYS, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"choose from {', '.join(ROPE_KEYS)}"
            found.append(f"{shown}: there is no such RoPE parameter; {remedy}")
        elif key == "rope_type" and value not in ROPE_TYPES:
            found.append(f"{shown}: choose {', '.join(ROPE_TYPES)}")
        elif key in ("factor", "rope_theta") and (not isinstance(value, int | float) or value <= 0):
            found.append(f"{shown}: expected a number above 0")
    return found
