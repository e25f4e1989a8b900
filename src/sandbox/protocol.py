"""Frames between the pool and a worker: a 4-byte big-endian length, then that many bytes of ASCII JSON.

The pool sends one frame with the worker's modules and settings, the worker answers ``{"ready": true, ...}``;
then one request ``{"id", "code", ...}`` at a time, one answer
``{"id", "status", "stdout", "error", "seconds", "replay_seconds", "kept"}``. Lone surrogates survive, because
JSON escapes them. Runs on both sides, with the standard library only.
"""

from __future__ import annotations

import json
import os
from typing import Any

HEADER = 4
MAX_FRAME = 256 * 1024 * 1024  # larger frames are refused before memory is allocated


class ProtocolError(Exception):
    """The other side sent an invalid frame."""


def encode(message: dict[str, Any]) -> bytes:
    """Return one frame. Raises ProtocolError when it would be longer than MAX_FRAME."""
    body = json.dumps(message).encode("ascii")
    if len(body) > MAX_FRAME:
        raise ProtocolError(f"frame of {len(body)} bytes; the most is {MAX_FRAME}")
    return len(body).to_bytes(HEADER, "big") + body


def body_length(header: bytes) -> int:
    """Return the length in a header. Raises ProtocolError when it is beyond MAX_FRAME."""
    length = int.from_bytes(header, "big")
    if length > MAX_FRAME:
        raise ProtocolError(f"frame of {length} bytes announced; the most is {MAX_FRAME}")
    return length


def decode(body: bytes) -> dict[str, Any]:
    """Return the message in a frame's body. Raises ProtocolError when it is not a JSON object."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not JSON: {error}") from error
    if not isinstance(message, dict):
        raise ProtocolError(f"not an object: {type(message).__name__}")
    return message


def read_exactly(fd: int, count: int) -> bytes | None:
    """Read ``count`` bytes from a blocking descriptor; None at end of file."""
    parts = []
    while count:
        part = os.read(fd, min(count, 1 << 20))
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def receive(fd: int) -> dict[str, Any] | None:
    """Read the next message from a blocking descriptor; None at end of file."""
    header = read_exactly(fd, HEADER)
    if header is None:
        return None
    body = read_exactly(fd, body_length(header))
    return None if body is None else decode(body)


def send(fd: int, message: dict[str, Any]) -> None:
    """Write one frame to a blocking descriptor."""
    data = memoryview(encode(message))
    while data:
        data = data[os.write(fd, data) :]
