"""A model of a few thousand parameters for a warm start to begin with, and quick settings."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from src.config import TuneConfig
from tests.small_tokenizers import smol_like

SMOL = smol_like()
TUNE = TuneConfig(
    trajectories=10, heldout=3, batch_tokens=2048, learning_rate=1e-2, warmup_steps=1, heldout_every=2
)


def write_model(folder: Path) -> str:
    """A few thousand parameters of the pretrained model's kind: Llama, tied, pads with its end."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(SMOL),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    SMOL.tokenizer.save_pretrained(folder)
    return str(folder)
