"""The tokenizer and the untrained model of the mini policy."""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from src.config import WarmStartConfig
from src.formats.base import Format
from src.launch.checks.model_files import MINI_END, MINI_PAD
from src.warm_start.corpus import solutions

PAD, END = MINI_PAD, MINI_END
POSITIONS = 2048


def build_tokenizer(cfg: WarmStartConfig, form: Format) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer in which digits, signs and the format's markup are never merged.

    Merges may cross spaces but not lines, so that set phrases are single tokens. Numbers that must be copied
    have the same tokens in the problem, the code and the output.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(mark, "isolated") for mark in form.markup),
            pre_tokenizers.Split(Regex(r"[0-9]| [+\-] |-"), "isolated"),
            pre_tokenizers.Split(Regex(r"[^\n]+\n*|\n+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    source = solutions(cfg, form, "tokenizer")
    texts: list[str] = []
    for _ in range(cfg.tokenizer_samples):
        prompt, segments = next(source)
        texts += [prompt, *(segment.text for segment in segments)]
    trainer = trainers.BpeTrainer(
        vocab_size=cfg.vocab_size,
        special_tokens=[PAD, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, clean_up_tokenization_spaces=False
    )


def build_model(cfg: WarmStartConfig, tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """Return a Qwen3 with random weights and tied embeddings."""
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=cfg.hidden_size,
            num_hidden_layers=cfg.layers,
            num_attention_heads=cfg.heads,
            num_key_value_heads=cfg.kv_heads,
            head_dim=cfg.head_dim,
            intermediate_size=cfg.intermediate_size,
            max_position_embeddings=POSITIONS,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
