"""Converts the GGUF file of a chat model to a folder that ``from_pretrained`` reads.

transformers dequantises the weights. Its tokenizer of such a file is not used: in version 5.17 it ends texts
with ``<|im_start|>``, reads numbers with the space before them, and turns U+2581 into a space. The tokenizer
is built from the file's vocabulary and merges instead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, GgufConfig, PreTrainedTokenizerFast

_FIELD = "tokenizer.ggml."
_ROLES = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}
# How texts are split before merging, by the name that the file has for it.
_SPLITS = {
    "smollm": [
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ]
}


def convert(file: Path, folder: Path) -> None:
    """Write weights (float32, safetensors), configuration, generation settings and tokenizer to ``folder``.

    Raises:
        KeyError: the file is of another kind.
    """
    model = AutoModelForCausalLM.from_pretrained(
        str(file.parent),
        gguf_file=file.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,  # scales and offsets are products of 16-bit numbers, which 16 bits do not hold
    )
    vars(model.config).pop("_model_name_or_path", None)  # a description, not a path
    model.save_pretrained(folder)
    build_tokenizer(read_fields(file), model.config.max_position_embeddings).save_pretrained(folder)


def read_fields(file: Path) -> dict[str, Any]:
    """Return what a GGUF file says of its tokenizer, by field name without ``tokenizer.``."""
    fields = gguf.GGUFReader(file).fields
    return {
        name.removeprefix("tokenizer.").removeprefix("ggml."): field.contents()
        for name, field in fields.items()
        if name.startswith("tokenizer.")
    }


def build_tokenizer(fields: dict[str, Any], positions: int) -> PreTrainedTokenizerFast:
    """Return the byte-level BPE tokenizer of ``fields``, with its chat template and special tokens.

    Args:
        fields: ``tokens``, ``token_type``, ``merges``, ``pre``, ``chat_template`` and ids of special tokens.
        positions: context length in tokens.

    Raises:
        KeyError: a field is missing, or texts are split in an unknown way.
    """
    tokens: list[str] = fields["tokens"]
    merges = [tuple(merge.split(" ")) for merge in fields["merges"]]
    backend = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, merges))
    backend.pre_tokenizer = pre_tokenizers.Sequence(_SPLITS[fields["pre"]])
    backend.decoder = decoders.ByteLevel()
    control = [
        token
        for token, kind in zip(tokens, fields["token_type"], strict=True)
        if kind == gguf.TokenType.CONTROL
    ]
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    special = {role: tokens[fields[f"{name}_token_id"]] for name, role in _ROLES.items()}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        **special,
        chat_template=fields["chat_template"],
        model_max_length=positions,
        clean_up_tokenization_spaces=False,
    )
