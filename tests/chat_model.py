"""A tiny Qwen2 with a chat template of ChatML and a tokenizer learned here, as a folder."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from src.problems import Problem
from src.problems.mini import generate
from src.problems.prompt_text import MODES, build_prompt

POSITIONS = 4096  # Qwen2.5-Math's
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PROBLEMS: list[Problem] = generate(20, 0, "train", None, None)


def tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """Byte-level BPE learned from what it will be asked."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [str(build_prompt(one, mode, "plain")) for one in PROBLEMS for mode in MODES]
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=special[0],
        eos_token=special[2],
        additional_special_tokens=special[1:2],
        chat_template=template,
        clean_up_tokenization_spaces=False,
    )


def config(**values: int) -> Qwen2Config:
    """A few thousand parameters, and the positions of the real model."""
    return Qwen2Config(
        **{
            "vocab_size": 600,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": POSITIONS,
        }
        | values,
        bos_token_id=None,
        eos_token_id=2,
        pad_token_id=0,
        tie_word_embeddings=True,
    )


def write(folder: Path, template: str | None = TEMPLATE, **values: int) -> str:
    """Write it, and return its path."""
    torch.manual_seed(0)
    Qwen2ForCausalLM(config(**values)).save_pretrained(folder)
    tokenizer(template).save_pretrained(folder)
    return str(folder)
