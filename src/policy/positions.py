"""Extends the positions in a model's config.json with ``model.max_positions`` and ``model.rope``.

The weights do not change: rotary positions are computed, so more of them need no larger table. Beyond the
positions of its training the model extrapolates, or with ``rope`` (YaRN, arXiv 2309.00071, or a larger
``rope_theta``) they are rescaled into its trained range.
"""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from src.config import ModelConfig, RolloutConfig
from src.config.schema import ConfigError, show
from src.launch.checks.policy import weights_of
from src.launch.checks.positions import positions, too_long


def read_config(cfg: ModelConfig) -> PreTrainedConfig:
    """Return the config.json of the policy, or of its adapter's base, extended by ``cfg``.

    Raises:
        ConfigError: it cannot be extended.
        OSError, ValueError: it cannot be loaded, or transformers does not support the model.
    """
    path, revision = weights_of(cfg)
    return extend(AutoConfig.from_pretrained(path, revision=revision), cfg)


def extend(config: PreTrainedConfig, cfg: ModelConfig) -> PreTrainedConfig:
    """Set the positions and rope parameters of ``cfg`` in ``config`` and return it. Raises ConfigError."""
    if cfg.max_positions is None and not cfg.rope:
        return config
    given = {"model.max_positions": cfg.max_positions, "model.rope": cfg.rope}
    shown = " and ".join(f"{name}={show(value)}" for name, value in given.items() if value)
    text = config.get_text_config()
    own = getattr(text, "rope_parameters", None)
    if not own:
        raise ConfigError(
            f"{shown}: model.path={cfg.path} has no rotary positions ({type(text).__name__}), and a table of "
            "them cannot be extended; leave both null, and lower rollout.max_tokens"
        )
    if text is not config or any(isinstance(value, dict) for value in own.values()):
        raise ConfigError(
            f"{shown}: model.path={cfg.path} ({type(config).__name__}) has several kinds of positions; leave "
            "both null, and edit a copy of its config.json"
        )
    try:
        if cfg.rope:
            text.rope_parameters = {**own, **cfg.rope}
            text.standardize_rope_params()  # before more positions are set: YaRN scales the original ones
            text.validate_rope()
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{shown}: transformers refuses it ({' '.join(str(error).split())})") from None
    if cfg.max_positions is not None:
        text.max_position_embeddings = cfg.max_positions
    return config


def hf_overrides(cfg: ModelConfig) -> dict[str, Any]:
    """Return the same extension as vLLM's ``hf_overrides``; empty if nothing is extended.

    vLLM takes the positions of a model with YaRN as scaled already; in its config.json they need not be.
    """
    given = cfg.max_positions is not None or bool(cfg.rope)
    try:
        config = read_config(cfg)
    except (OSError, ValueError):
        if given:
            raise
        return {}  # left to vLLM, which names what is wrong
    rope = getattr(config, "rope_parameters", None) or {}
    own = getattr(config, "max_position_embeddings", None)
    number = cfg.max_positions
    if rope.get("rope_type") == "yarn" and (found := positions(config.to_dict(), cfg)) is not None:
        number = found.number if given or found.number != own else None
    overrides: dict[str, Any] = {}
    if given or number is not None:
        overrides["rope_parameters"] = dict(rope)  # vLLM replaces it whole
    if number is not None:
        overrides["max_position_embeddings"] = number
        if getattr(config, "model_max_length", None):  # of Cohere models; vLLM gives it priority
            overrides["model_max_length"] = number
    return overrides


def refuse_too_long(cfg: ModelConfig, rollout: RolloutConfig) -> None:
    """Raise ConfigError if trajectories do not fit; errors of an unknown model are left to its loader."""
    try:
        config = read_config(cfg)
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        return
    faults = too_long(config.to_dict(), cfg, rollout, "")
    if faults:
        raise ConfigError(*faults)
