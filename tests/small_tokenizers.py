"""Tokenizers with thousands of tokens, learned here as models' are, once in each test process."""

from __future__ import annotations

from functools import cache

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from src.config.paths import ROOT
from src.policy.codec import TokenCodec
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
