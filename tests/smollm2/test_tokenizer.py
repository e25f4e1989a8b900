"""The tokenizer that is built from the fields of a GGUF file, on a small one of the same kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, LlamaConfig

from src.policy.codec import TokenCodec
from src.smollm2.convert import build_tokenizer
from tests.small_tokenizers import UNKNOWN_BYTES, smol_fields, smol_like

CODEC = smol_like()
SPOKEN = st.text(st.characters(codec="utf-8").filter(lambda c: UNKNOWN_BYTES.isdisjoint(c.encode())))


def test_texts_end_with_the_end_of_a_turn() -> None:
    tokenizer = CODEC.tokenizer
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.bos_token) == (
        "<|im_end|>",
        "<|im_end|>",
        "<|im_start|>",
    )
    assert CODEC.eos_ids == {2}


def test_control_tokens_are_added_tokens_and_nothing_else_is() -> None:
    added = {token.content for token in CODEC.tokenizer.added_tokens_decoder.values()}
    assert added == {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}
    assert all(token.special for token in CODEC.tokenizer.added_tokens_decoder.values())


@given(SPOKEN)
def test_any_text_of_known_bytes_survives(text: str) -> None:
    ids = CODEC.encode(text)
    assert b"".join(map(CODEC.bytes_of, ids)) == text.encode()
    plain = CODEC.tokenizer.encode(text, add_special_tokens=False)
    assert CODEC.tokenizer.decode(plain) == text


def test_digits_stand_alone_and_the_blank_before_them_stays_with_the_others() -> None:
    """transformers' own conversion in 5.17 joins the last blank of an indentation with a digit."""
    pieces = CODEC.tokenizer.convert_ids_to_tokens(CODEC.tokenizer.encode("x = 1234\n    12"))
    assert not [piece for piece in pieces if len(piece) > 1 and any(char.isdigit() for char in piece)]
    tokens = [CODEC.bytes_of(index).decode() for index in CODEC.tokenizer.encode("    12")]
    assert tokens[-2:] == ["1", "2"]
    assert "".join(tokens[:-2]) == "    "
    assert len(tokens) < 6, "the indentation is merged"


def test_the_template_adds_a_system_turn_to_a_chat_without_one() -> None:
    user = [{"role": "user", "content": "Hi"}]
    shown = CODEC.tokenizer.apply_chat_template(user, add_generation_prompt=True, tokenize=False)
    turns = [("system", "You are helpful."), ("user", "Hi")]
    expected = "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns)
    assert shown == f"{expected}<|im_start|>assistant\n"
    own = [{"role": "system", "content": "S"}, *user]
    assert "You are helpful" not in CODEC.tokenizer.apply_chat_template(own, tokenize=False)


def test_a_saved_tokenizer_is_read_back_as_it_was(tmp_path: Path) -> None:
    """Beside the configuration of a Llama, whose own tokenizer splits in another way."""
    CODEC.tokenizer.save_pretrained(tmp_path)
    LlamaConfig(vocab_size=len(CODEC)).save_pretrained(tmp_path)
    again = TokenCodec(AutoTokenizer.from_pretrained(tmp_path))
    for text in ("    12", "x\u2581é", "`" * 5, "a\n\n  b"):
        assert again.tokenizer.encode(text) == CODEC.tokenizer.encode(text)
        assert again.text(again.encode(text)) == text
    assert again.eos_ids == CODEC.eos_ids


def test_a_file_that_splits_texts_in_another_way_is_refused() -> None:
    with pytest.raises(KeyError, match="llama-bpe"):
        build_tokenizer({**smol_fields(), "pre": "llama-bpe"}, 64)


class TestUnknownBytes:
    """A program can print what the vocabulary has no token for; that must not end the run."""

    @pytest.mark.parametrize(
        ("printed", "read"),
        [
            ("a\x04b", "a\ufffdb"),
            ("\x06\x1d", "\ufffd\ufffd"),
            ("1\x002", "1\x002"),
            ("\U0010ffff ok", "\U0010ffff ok"),  # f4 has a token
            ("\U00040000", "\ufffd"),  # begins with f1
            ("<|im_end|>\x04", "<|im_end|>\ufffd"),
        ],
    )
    def test_what_has_no_token_is_replaced_and_the_rest_kept(self, printed: str, read: str) -> None:
        ids = CODEC.encode(printed)
        assert b"".join(map(CODEC.bytes_of, ids)).decode() == read
        assert {0, 1, 2}.isdisjoint(ids)

    def test_bytes_that_were_sampled_are_never_replaced(self) -> None:
        with pytest.raises(ValueError, match="no token for the byte"):
            CODEC.encode_bytes(b"\x04\xff")
