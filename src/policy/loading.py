"""Loads the policy of ``cfg.model``: its weights and its tokenizer."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from src.config import ModelConfig
from src.launch.checks import style_and_format
from src.launch.checks.model_files import write_notes
from src.launch.checks.policy import base_of, weights_of
from src.policy.adapters import add_adapter
from src.policy.codec import TokenCodec
from src.policy.positions import read_config
from src.run.console import console


def load_model(cfg: ModelConfig) -> PreTrainedModel | PeftModel:
    """Return the policy of ``cfg``: a full model, with or without a new adapter, or a base with its adapter.

    Raises:
        ConfigError: an adapter target is not in the model, or its positions cannot be extended.
    """
    if not console.is_terminal:
        transformers_logging.disable_progress_bar()  # it fills log files
    model = _load(cfg, getattr(torch, cfg.dtype))
    if base_of(cfg.path) is not None:
        return PeftModel.from_pretrained(model, cfg.path)
    return add_adapter(model, cfg) if cfg.lora.rank else model


def load_codec(cfg: ModelConfig) -> TokenCodec:
    """Return the codec of the tokenizer, with the end-of-text ids of the model's generation settings."""
    path, revision = weights_of(cfg)
    try:
        eos = GenerationConfig.from_pretrained(path, revision=revision).eos_token_id
    except OSError:  # the model has none
        eos = None
    codec = TokenCodec(_load_tokenizer(cfg.path, cfg.revision))
    return codec.with_eos(eos if isinstance(eos, list) else [] if eos is None else [eos])


@contextlib.contextmanager
def whole_model(cfg: ModelConfig, folder: Path) -> Iterator[ModelConfig]:
    """Inside this context, an adapter is also available as a merged model in ``folder``, for vLLM.

    vLLM can load adapters itself, but during training it samples from merged weights.
    """
    if base_of(cfg.path) is None:
        yield cfg
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".merged-", dir=folder) as merged:
        write_merged(cfg, Path(merged), getattr(torch, cfg.dtype))
        yield replace(cfg, path=merged, revision=None)


def write_merged(cfg: ModelConfig, folder: Path, dtype: torch.dtype | str = "auto") -> None:
    """Merge an adapter into its base and save the model, its tokenizer and notes in ``folder``.

    Args:
        cfg: names the adapter's folder; unset options are taken from the adapter's notes.
        folder: output folder.
        dtype: dtype of the merged weights; ``auto``: that of the base.
    """
    known = style_and_format.notes(cfg)
    asking = style_and_format.asking(cfg, known, None)
    model = PeftModel.from_pretrained(_load(style_and_format.extended(cfg, known), dtype), cfg.path)
    model.merge_and_unload().save_pretrained(folder)
    _load_tokenizer(cfg.path, None).save_pretrained(folder)
    style = asking.trained if asking else known.prompt_style
    write_notes(folder, replace(known, prompt_style=style, max_positions=None, rope=None))


def _load(cfg: ModelConfig, dtype: torch.dtype | str) -> PreTrainedModel:
    """Load the full model of ``cfg``, or the base of its adapter."""
    path, revision = weights_of(cfg)
    own = {} if cfg.max_positions is None and not cfg.rope else {"config": read_config(cfg)}
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(path, revision=revision, dtype=dtype, **own)
    return model


def _load_tokenizer(path: str, revision: str | None) -> PreTrainedTokenizerBase:
    base = base_of(path)
    if base is not None and not (Path(path) / "tokenizer_config.json").is_file():
        path, revision = base.path, base.revision  # other tools may save an adapter without a tokenizer
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(path, revision=revision)
    return tokenizer
