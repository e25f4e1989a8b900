"""The policy of ``cfg.model``: its weights, and its tokens."""

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

from src.config import ModelConfig
from src.launch.checks import style_and_format
from src.launch.checks.model_files import Notes, write_notes
from src.launch.checks.policy import base_of, weights_of
from src.policy.adapters import add_adapter
from src.policy.codec import TokenCodec
from src.policy.positions import read_config


def load_model(cfg: ModelConfig) -> PreTrainedModel | PeftModel:
    """Return the policy of ``cfg``: a whole model, alone or with a new adapter, or a base with its adapter.

    Raises:
        ConfigError: a module that is to be adapted is not in the model, or its positions cannot be extended.
    """
    model = _load(cfg, getattr(torch, cfg.dtype))
    if base_of(cfg.path) is not None:
        return PeftModel.from_pretrained(model, cfg.path)
    return add_adapter(model, cfg) if cfg.lora.rank else model


def load_codec(cfg: ModelConfig) -> TokenCodec:
    """Return the codec of the policy's tokenizer; the model's generation settings may name further ends."""
    path, revision = weights_of(cfg)
    try:
        eos = GenerationConfig.from_pretrained(path, revision=revision).eos_token_id
    except OSError:  # it has none
        eos = None
    codec = TokenCodec(_load_tokenizer(cfg.path, cfg.revision))
    return codec.with_eos(eos if isinstance(eos, list) else [] if eos is None else [eos])


@contextlib.contextmanager
def whole_model(cfg: ModelConfig, folder: Path) -> Iterator[ModelConfig]:
    """While this lasts, an adapter is a whole model in ``folder`` too, for what loads nothing else.

    vLLM can add adapters by itself; but merged weights are what it samples from beside a trainer.
    """
    if base_of(cfg.path) is None:
        yield cfg
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".merged-", dir=folder) as merged:
        write_merged(cfg, Path(merged), getattr(torch, cfg.dtype))
        yield replace(cfg, path=merged, revision=None)


def write_merged(cfg: ModelConfig, folder: Path, dtype: torch.dtype | str = "auto") -> None:
    """Write an adapter and its base as one model, with its tokenizer and notes, into ``folder``.

    Args:
        cfg: names the adapter's folder; what it leaves open is as the adapter's notes say.
        folder: where to.
        dtype: of the merged weights; ``auto``: the base's.
    """
    known = style_and_format.notes(cfg)
    asking = style_and_format.asking(cfg, known, None)
    model = PeftModel.from_pretrained(_load(style_and_format.extended(cfg, known), dtype), cfg.path)
    model.merge_and_unload().save_pretrained(folder)
    _load_tokenizer(cfg.path, None).save_pretrained(folder)
    write_notes(folder, Notes(asking.trained if asking else known.prompt_style, known.format))


def _load(cfg: ModelConfig, dtype: torch.dtype | str) -> PreTrainedModel:
    """Load the whole model of ``cfg``, or the base of its adapter."""
    path, revision = weights_of(cfg)
    own = {} if cfg.max_positions is None and not cfg.rope else {"config": read_config(cfg)}
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(path, revision=revision, dtype=dtype, **own)
    return model


def _load_tokenizer(path: str, revision: str | None) -> PreTrainedTokenizerBase:
    base = base_of(path)
    if base is not None and not (Path(path) / "tokenizer_config.json").is_file():
        path, revision = base.path, base.revision  # others than our trainer may write the adapter alone
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(path, revision=revision)
    return tokenizer
