"""Frames, whole and broken."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.sandbox import protocol

TEXT = st.text(st.characters(codec=None), max_size=200)  # lone surrogates and NUL included


@given(st.dictionaries(TEXT, TEXT | st.integers() | st.none() | st.booleans(), max_size=5))
def test_a_message_survives(message: dict[str, Any]) -> None:
    frame = protocol.encode(message)
    assert protocol.body_length(frame[: protocol.HEADER]) == len(frame) - protocol.HEADER
    assert protocol.decode(frame[protocol.HEADER :]) == message


def test_messages_follow_each_other_through_a_pipe() -> None:
    reader, writer = os.pipe()
    try:
        for number in range(3):
            protocol.send(writer, {"n": number})
        os.close(writer)
        assert [protocol.receive(reader) for _ in range(4)] == [{"n": 0}, {"n": 1}, {"n": 2}, None]
    finally:
        os.close(reader)


def test_a_torn_frame_is_the_end() -> None:
    reader, writer = os.pipe()
    try:
        os.write(writer, protocol.encode({"a": 1})[:-1])
        os.close(writer)
        assert protocol.receive(reader) is None
    finally:
        os.close(reader)


@pytest.mark.parametrize("body", [b"", b"[]", b"1", b"{", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(protocol.ProtocolError):
        protocol.decode(body)


def test_a_frame_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(protocol.ProtocolError, match="4294967295 bytes announced"):
        protocol.body_length(b"\xff" * 4)
    monkeypatch.setattr(protocol, "MAX_FRAME", 100)
    with pytest.raises(protocol.ProtocolError, match="the most is 100"):
        protocol.encode({"code": "x" * 100})
