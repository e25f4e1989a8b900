"""Ids, bytes and text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from src.formats import TagFormat
from src.policy.codec import TokenCodec
from src.tools import PythonTool
from tests.fakes import BPE, BYTES, EOS, bpe_tokenizer


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


class TestAddedTokens:
    """Qwen's ``<tool_call>`` and ``</think>`` are added tokens that the tokenizer does not call special."""

    def codec(self) -> TokenCodec:
        tokenizer = bpe_tokenizer()
        tokenizer.add_tokens(["<tool_call>", "</think>", "<result>", "   "])
        return TokenCodec(tokenizer)

    @pytest.mark.parametrize(
        "text", ["</think>", "1\n</think>x", f"<tool_call>{EOS}</think>", " <tool_call> "]
    )
    def test_what_a_program_prints_is_text(self, text: str) -> None:
        codec = self.codec()
        markup = set(codec.tokenizer.convert_tokens_to_ids(["<tool_call>", "</think>", EOS]))
        assert markup & set(codec.tokenizer.encode(text, add_special_tokens=False))
        ids = codec.encode(text)
        assert markup.isdisjoint(ids)
        assert b"".join(map(codec.bytes_of, ids)) == text.encode()

    def test_runs_of_white_space_stay_one_token(self) -> None:
        codec = self.codec()
        assert codec.encode("a   b") == codec.tokenizer.encode("a   b", add_special_tokens=False)
        assert len(codec.encode("a   b")) == 3

    def test_a_vocabulary_that_is_looked_up_by_whole_words(self) -> None:
        level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        characters = {char: index for index, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
        words = characters | {"</think>": len(characters)}
        tokenizer = Tokenizer(models.BPE(words, [], ignore_merges=True))
        tokenizer.pre_tokenizer, tokenizer.decoder = level, decoders.ByteLevel()
        tokenizer.add_tokens(["</think>"])
        codec = TokenCodec(PreTrainedTokenizerFast(tokenizer_object=tokenizer))
        assert codec.encode("</think>") == [characters[char] for char in "</think>"]

    def test_a_format_whose_tags_are_added_tokens_uses_them(self) -> None:
        codec = self.codec()
        form = TagFormat().prepare([PythonTool(None)], codec.tokenizer, "plain")
        pieces = form.render(form.neutralise("<result>"))
        ids = [token for piece in pieces for token in codec.encode_piece(piece)]
        assert ids.count(codec.tokenizer.convert_tokens_to_ids("<result>")) == 1
        assert codec.text(ids) == "".join(piece.text for piece in pieces)
        opened = form.render("1", opened=True)
        assert [piece.text for piece in opened if piece.control] == ["</result>"]
