"""Converts token ids to bytes, and text to token ids without control tokens."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from src.formats.base import Piece

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase


def _byte_alphabet() -> dict[str, int]:
    """Return the byte for each printable character that represents it in byte-level BPE vocabularies."""
    from tokenizers.pre_tokenizers import ByteLevel

    # ByteLevel.alphabet() is unordered: printable latin-1 characters represent themselves; the
    # other bytes, in order, are represented by the code points from 256 on.
    own = {char: ord(char) for char in ByteLevel.alphabet() if ord(char) < 256}
    rest = (byte for byte in range(256) if byte not in own.values())
    return own | {chr(256 + index): byte for index, byte in enumerate(rest)}


def _reads_as_text(backend: Tokenizer, markup: set[int]) -> Tokenizer:
    """Return a copy of a tokenizer that encodes the added tokens ``markup`` as plain text."""
    description = json.loads(backend.to_str())
    for token in description["added_tokens"]:
        token["special"] = token["id"] in markup
    description["padding"] = description["truncation"] = None
    copied = type(backend).from_str(json.dumps(description))
    copied.encode_special_tokens = True
    return copied


class TokenCodec:
    """Converts between token ids, bytes and text for one tokenizer.

    Args:
        tokenizer: a fast tokenizer, byte-level BPE or sentencepiece with byte fallback.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        special = set(tokenizer.all_special_ids)
        self.eos_ids = frozenset({tokenizer.eos_token_id} - {None})
        pieces: list[str | None] = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        pad = tokenizer.pad_token_id
        self.pad_id: int = min(self.eos_ids, default=0) if pad is None else pad
        added = {index: token.content for index, token in tokenizer.added_tokens_decoder.items()}
        byte_level = "ByteLevel" in str(getattr(tokenizer.backend_tokenizer, "decoder", ""))
        alphabet = _byte_alphabet() if byte_level else {}
        self._bytes: list[bytes] = []
        for index, piece in enumerate(pieces):
            if index in added:
                self._bytes.append(added[index].encode())
            elif piece is None:
                self._bytes.append(b"")
            elif byte_level:
                self._bytes.append(bytes(alphabet[char] for char in piece))
            elif len(piece) == 6 and piece.startswith("<0x"):
                self._bytes.append(bytes([int(piece[3:5], 16)]))
            else:
                self._bytes.append(piece.replace("\u2581", " ").encode())
        self._said: list[bytes] = []
        self.with_eos(())
        # Runs of white space are added to vocabularies for brevity; all other added tokens are markup.
        self._markup = special | {index for index, text in added.items() if text.strip()}
        self._plain = _reads_as_text(tokenizer.backend_tokenizer, self._markup)
        self._single = {
            data: index
            for index, data in enumerate(self._bytes)
            if len(data) == 1 and index not in self._markup
        }

    def with_eos(self, eos_ids: Iterable[int]) -> TokenCodec:
        """Add end-of-text ids, such as those of the model's generation settings; return self."""
        self.eos_ids = self.eos_ids | frozenset(eos_ids)
        self._said = [b"" if index in self.eos_ids else data for index, data in enumerate(self._bytes)]
        return self

    def __len__(self) -> int:
        """Return the number of token ids."""
        return len(self._bytes)

    def bytes_of(self, token_id: int) -> bytes:
        """Return the bytes of a token; none for ids beyond the vocabulary (padding of the embedding)."""
        return self._bytes[token_id] if 0 <= token_id < len(self._bytes) else b""

    def pieces(self, token_ids: Sequence[int]) -> list[bytes]:
        """Return the bytes of each token; none for end-of-text tokens."""
        try:
            return [self._said[index] for index in token_ids]
        except IndexError:  # beyond the vocabulary
            return [b"" if index in self.eos_ids else self.bytes_of(index) for index in token_ids]

    def text(self, token_ids: Sequence[int]) -> str:
        """Return the text of ``token_ids`` without end-of-text tokens; invalid UTF-8 is replaced."""
        return b"".join(self.pieces(token_ids)).decode("utf-8", errors="replace")

    def encode(self, text: str) -> list[int]:
        """Return token ids for exactly the bytes of ``text``, without control tokens.

        A program may print the text of a control token (``<|im_end|>``, ``</think>``), which must remain
        text, whether the tokenizer calls it special or not. Characters with a byte that has no token, in
        vocabularies that lack some control characters, become U+FFFD.

        Raises:
            ValueError: the tokenizer has no tokens for U+FFFD, either.
        """
        data = text.encode("utf-8", errors="replace")  # a lone surrogate, possible in JSON, has no bytes
        ids = self._encode(data)
        if ids is None:
            data = b"".join(map(self._sayable, data.decode()))
            ids = self._encode(data)
        return self._encode_singly(data) if ids is None else ids

    def _sayable(self, char: str) -> bytes:
        data = char.encode()
        return data if self._encode(data) is not None else "\ufffd".encode()

    def _encode(self, data: bytes) -> list[int] | None:
        """Return token ids for exactly ``data``, valid UTF-8; None: a byte has no token."""
        ids: list[int] = self._plain.encode(data.decode(), add_special_tokens=False).ids
        if b"".join([self._bytes[index] for index in ids]) == data and self._markup.isdisjoint(ids):
            return ids
        # A normaliser changed the text, the tokenizer added a leading space, or it looks up whole words.
        try:
            return self._encode_singly(data)
        except ValueError:
            return None

    def encode_piece(self, piece: Piece) -> list[int]:
        """Return the token ids of a piece of a result; only ``control`` pieces may contain control tokens."""
        if not piece.control:
            return self.encode(piece.text)
        return list(self.tokenizer.encode(piece.text, add_special_tokens=False))

    def encode_bytes(self, data: bytes) -> list[int]:
        """Return token ids for exactly the bytes ``data``, which need not be valid UTF-8.

        Raises:
            ValueError: the tokenizer has no token for one of the bytes.
        """
        try:
            return self.encode(data.decode("utf-8"))
        except UnicodeDecodeError:
            return self._encode_singly(data)

    def _encode_singly(self, data: bytes) -> list[int]:
        try:
            return [self._single[data[index : index + 1]] for index in range(len(data))]
        except KeyError as error:
            raise ValueError(
                f"the tokenizer {self.tokenizer.name_or_path!r} has no token for the byte {error.args[0]!r}; "
                "use a byte-level tokenizer or one with byte fallback"
            ) from None
