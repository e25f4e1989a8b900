"""A model's config.json with the positions that ``model.max_positions`` and ``model.rope`` give it.

Weights stay as they are: rotary positions are computed, so that more of them need no table. Beyond those
that the model was trained on it extrapolates, or with ``rope`` (YaRN, arXiv 2309.00071; a larger
``rope_theta``) sees others in their place.
"""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from src.config import ModelConfig, RolloutConfig
from src.config.schema import ConfigError, show
from src.launch.checks.policy import weights_of
from src.launch.checks.positions import too_long


def read_config(cfg: ModelConfig) -> PreTrainedConfig:
    """Return the config.json of the policy, or of its adapter's base, as ``cfg`` extends it.

    Raises:
        ConfigError: it cannot be extended so.
        OSError, ValueError: it cannot be had, or transformers does not know it.
    """
    path, revision = weights_of(cfg)
    return extend(AutoConfig.from_pretrained(path, revision=revision), cfg)


def extend(config: PreTrainedConfig, cfg: ModelConfig) -> PreTrainedConfig:
    """Put the positions and rope parameters of ``cfg`` into ``config``, and return it. Raises ConfigError."""
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
    if text is not config or any(isinstance(one, dict) for one in own.values()):
        raise ConfigError(
            f"{shown}: model.path={cfg.path} ({type(config).__name__}) has several kinds of positions; leave "
            "both null, and edit a copy of its config.json"
        )
    try:
        if cfg.rope:
            text.rope_parameters = {**own, **cfg.rope}
            text.standardize_rope_params()  # YaRN extends what the model had: before it has more
            text.validate_rope()
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{shown}: transformers refuses it ({' '.join(str(error).split())})") from None
    if cfg.max_positions is not None:
        text.max_position_embeddings = cfg.max_positions
    return config


def hf_overrides(cfg: ModelConfig) -> dict[str, Any]:
    """Return vLLM's ``hf_overrides`` that read the same; empty if ``cfg`` extends nothing."""
    if cfg.max_positions is None and not cfg.rope:
        return {}
    config = read_config(cfg)
    overrides: dict[str, Any] = {"rope_parameters": dict(config.rope_parameters)}  # replaced as a whole
    if cfg.max_positions is not None:
        overrides["max_position_embeddings"] = cfg.max_positions
        if getattr(config, "model_max_length", None):  # Cohere's, which vLLM believes first
            overrides["model_max_length"] = cfg.max_positions
    return overrides


def refuse_too_long(cfg: ModelConfig, rollout: RolloutConfig) -> None:
    """Raise ConfigError if trajectories do not fit; an unknown model is left to whoever loads it."""
    try:
        config = read_config(cfg)
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        return
    faults = too_long(config.to_dict(), cfg, rollout, "")
    if faults:
        raise ConfigError(*faults)
