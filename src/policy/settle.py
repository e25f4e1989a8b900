"""Resolves the policy's unset settings before its weights are loaded: prompt style, format, positions.

This needs only the tokenizer and config.json.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from transformers.utils import cached_file

from src.config import Config, EvaluationConfig, ModelConfig
from src.config.schema import ConfigError
from src.launch.checks import prompts, style_and_format
from src.launch.checks.model_files import NOTES, Notes, has_mini_tokens, read_notes
from src.launch.checks.policy import weights_of
from src.policy.codec import TokenCodec
from src.policy.loading import load_codec
from src.policy.positions import read_config, refuse_too_long

C = TypeVar("C", Config, EvaluationConfig)


def settle(cfg: C) -> tuple[C, TokenCodec]:
    """Return ``cfg`` with unset model settings resolved from the policy, and the policy's codec.

    Raises:
        ConfigError: the policy was trained with another prompt style or format, or has too few positions.
    """
    resume = cfg.trainer.resume if isinstance(cfg, Config) else None
    codec = load_codec(cfg.model)
    known = _notes(cfg.model, resume)
    tokenizer = codec.tokenizer
    mini = tokenizer.chat_template is None and has_mini_tokens(
        tokenizer.pad_token, tokenizer.eos_token, tokenizer.pad_token_id, tokenizer.eos_token_id
    )
    template = tokenizer.chat_template is not None
    asking = style_and_format.known_asking(known, resume, mini=mini, template=template)
    faults = style_and_format.faults(cfg.model, asking, "model.")
    faults += style_and_format.format_faults(cfg, known, "")
    style = style_and_format.style(cfg.model, asking)
    faults += prompts.of_training(cfg, known, style, "")
    if faults:
        raise ConfigError(*faults)
    model = replace(cfg.model, prompt_style=style)
    model = style_and_format.extended(model, known)
    refuse_too_long(model, cfg.rollout)
    if model.dtype == "auto":
        model = replace(model, dtype=_dtype(model, known))
    return replace(cfg, model=model, format=style_and_format.format_of(cfg.format, known)), codec


def _dtype(cfg: ModelConfig, known: Notes) -> str:
    """Return the dtype of the engine in training, else that of config.json, else float32."""
    if known.dtype is not None:
        return known.dtype
    stored = getattr(read_config(cfg).get_text_config(), "dtype", None)
    return "float32" if stored is None else str(stored).removeprefix("torch.")


def _notes(cfg: ModelConfig, resume: str | None) -> Notes:
    """Return the notes of the policy; those of a hub model are downloaded, if it has any."""
    known = style_and_format.notes(cfg, resume)
    if resume is not None or known.prompt_style is not None:
        return known
    path, revision = weights_of(cfg)
    file = cached_file(
        path,
        NOTES,
        revision=revision,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return known if file is None else style_and_format.completed(known, read_notes(path, Path(file)))
