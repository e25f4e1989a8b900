"""Ids, bytes and text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from src.policy.codec import TokenCodec
from tests.fakes import BPE, BYTES, EOS


@given(st.text())
def test_encoding_spells_exactly_the_bytes_and_no_control_token(text: str) -> None:
    for codec in (BYTES, BPE):
        ids = codec.encode(text)
        assert b"".join(map(codec.bytes_of, ids)) == text.encode("utf-8", "replace")
        assert not codec.eos_ids & set(ids)


@given(st.binary())
def test_bytes_that_are_no_text(data: bytes) -> None:
    assert b"".join(map(BPE.bytes_of, BPE.encode_bytes(data))) == data


def test_text_leaves_out_the_end_and_replaces_broken_characters() -> None:
    (eos,) = BPE.eos_ids
    assert BPE.text([*BPE.encode("a\u4e2d")[:-1], eos]) == "a\ufffd"
    assert BPE.bytes_of(10**6) == b""
    assert BPE.bytes_of(eos) == EOS.encode()


def sentencepiece_like(*, byte_fallback: bool) -> PreTrainedTokenizerFast:
    """Unigram pieces with a metaspace, as Llama's tokenizer has."""
    pieces = [("<unk>", 0.0), *([(f"<0x{b:02X}>", -9.0) for b in range(256)] if byte_fallback else [])]
    pieces += [(p, -1.0) for p in ("\u2581", "a", "b", "\u2581ab", "ab")]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=byte_fallback))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


def test_a_tokenizer_that_puts_in_a_space_still_gives_the_exact_bytes() -> None:
    codec = TokenCodec(sentencepiece_like(byte_fallback=True))
    for text in ("ab", "ab ab", "`\n"):
        assert b"".join(map(codec.bytes_of, codec.encode(text))) == text.encode()


def test_a_tokenizer_without_the_bytes_says_so() -> None:
    codec = TokenCodec(sentencepiece_like(byte_fallback=False))
    with pytest.raises(ValueError, match="no token for the byte"):
        codec.encode("`")
