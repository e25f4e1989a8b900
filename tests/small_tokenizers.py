"""Tokenizers with thousands of tokens, learned here as models' are, once in each test process."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from src.config.paths import ROOT
from src.policy.codec import TokenCodec
from src.smollm2.convert import build_tokenizer
from tests import chat_model

# Letters with what stands before them, single digits, and signs with the line breaks behind them.
QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# Tokens of Qwen3's vocabulary, but no control tokens.
MARKUP = ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>"]
CALLS = [
    "```python\nprint(1)\n```\n```output\n1\n```\n",
    "<code>\nprint(2)\n</code>\n<interpreter>\n2\n</interpreter>\n",
    "<python>\nprint(3)\n</python>\n<result>\n3\n</result>\nso \\boxed{3}.",
    '<tool_call>\n{"name": "python", "arguments": {"code": "print(4)"}}\n</tool_call>\n<tool_response>\n4\n'
    "</tool_response>\n",
    *(
        f"{close}{rest}"
        for close in ("```", "</code>", "</python>", "</tool_call>")
        for rest in ("\n\n", "So", ".")
    ),
]


def _learned(split: str, added: list[str]) -> TokenCodec:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=3000,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    sources = [path.read_text() for path in sorted((ROOT / "src" / "formats").glob("*.py"))]
    backend.train_from_iterator([*sources, *(CALLS * 200)], trainer)
    backend.add_tokens([AddedToken(token, special=False, normalized=False) for token in added])
    return TokenCodec(
        PreTrainedTokenizerFast(
            tokenizer_object=backend,
            pad_token=SPECIAL[0],
            eos_token=SPECIAL[2],
            additional_special_tokens=SPECIAL[1:2],
            chat_template=chat_model.TEMPLATE,
            clean_up_tokenization_spaces=False,
        )
    )


@cache
def coarse() -> TokenCodec:
    """Byte-level BPE over words with their signs and the white space behind: tags share tokens with text."""
    return _learned(r"\S+\s*|\s+", [])


@cache
def qwen_like() -> TokenCodec:
    """Byte-level BPE that splits as Qwen's does and has the tags of calls as tokens."""
    return _learned(QWEN_SPLIT, MARKUP)


# As of SmolLM2: bytes without a token, and a system turn for chats without one.
UNKNOWN_BYTES = frozenset({0x04, 0x06, 0x1D, 0xC0, 0xC1, 0xF1, 0xF2, *range(0xF5, 0x100)})
SYSTEM_TURN = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are helpful.<|im_end|>\n{% endif %}"
    + chat_model.TEMPLATE
)


@cache
def smol_fields() -> dict[str, Any]:
    """What a GGUF file would say of such a tokenizer: vocabulary, merges, special tokens, template."""
    learned = json.loads(_learned(QWEN_SPLIT, []).tokenizer.backend_tokenizer.to_str())["model"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    own = sorted(char for char in alphabet if ord(char) < 256)
    rest = [byte for byte in range(256) if byte not in map(ord, own)]
    unknown = {chr(256 + rest.index(byte)) if byte in rest else chr(byte) for byte in UNKNOWN_BYTES}
    merges = [merge for merge in learned["merges"] if unknown.isdisjoint("".join(merge))]
    made = dict.fromkeys("".join(merge) for merge in merges)
    tokens = [*SPECIAL, *sorted(set(alphabet) - unknown), *made]
    return {
        "model": "gpt2",
        "pre": "smollm",
        "tokens": tokens,
        "token_type": [3] * len(SPECIAL) + [1] * (len(tokens) - len(SPECIAL)),
        "merges": [" ".join(merge) for merge in merges],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unknown_token_id": 0,
        "padding_token_id": 2,
        "chat_template": SYSTEM_TURN,
    }


@cache
def smol_like() -> TokenCodec:
    """Byte-level BPE with single digits and some bytes missing; its template adds a system turn."""
    return TokenCodec(build_tokenizer(smol_fields(), 8192))
