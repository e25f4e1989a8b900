"""The policy of ``cfg.model``: its weights, and its tokens."""

from __future__ import annotations

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel

from src.config import ModelConfig
from src.rollout.tokens import TokenCodec


def load_model(cfg: ModelConfig) -> PreTrainedModel:
    """Return the policy with the weights of ``cfg``."""
    dtype = getattr(torch, cfg.dtype)
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        cfg.path, revision=cfg.revision, dtype=dtype
    )
    return model


def load_codec(cfg: ModelConfig) -> TokenCodec:
    """Return the codec of the policy's tokenizer; the model's generation settings may name further ends."""
    tokenizer = AutoTokenizer.from_pretrained(cfg.path, revision=cfg.revision)
    try:
        eos = GenerationConfig.from_pretrained(cfg.path, revision=cfg.revision).eos_token_id
    except OSError:  # it has none
        eos = None
    return TokenCodec(tokenizer).with_eos(eos if isinstance(eos, list) else [] if eos is None else [eos])
