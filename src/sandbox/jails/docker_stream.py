"""The bytes to and from a container: Docker sends stdout and stderr through one stream, in labelled pieces.

A piece is one byte for the stream (1: stdout, 2: stderr), three zeros, a 4-byte big-endian length, and that
many bytes. What is sent the other way is stdin, as it is.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from src.sandbox.jails.base import Channel

_HEADER = 8
_STDOUT, _STDERR = 1, 2
_WORDS = 2000  # bytes of stderr that are kept


class Multiplexed(Channel):
    """Over what the SDK's ``attach_socket`` returns, of a container without a terminal.

    :attr:`words` is the end of what came on stderr. Raises OSError when a piece is neither.
    """

    def __init__(self, attached: Any) -> None:
        self._attached = attached  # a SocketIO, which keeps its socket open
        self._socket: socket.socket = attached._sock
        self._socket.setblocking(False)
        self.input = self.output = self._socket.fileno()
        self.words = b""
        self._frames = bytearray()  # of stdout, not read yet
        self._header = bytearray()
        self._stream, self._left = (
            _STDOUT,
            0,
        )  # of the piece that is being read, and how much of it is to come

    def write(self, data: memoryview) -> int:
        """See Channel.write."""
        try:
            return self._socket.send(data[: 1 << 16])
        except BlockingIOError:
            return 0

    def read(self, count: int) -> bytes:
        """See Channel.read."""
        while not self._frames:
            data = self._socket.recv(1 << 16)
            if not data:
                return b""
            self._take(memoryview(data))
        part = bytes(self._frames[:count])
        del self._frames[:count]
        return part

    def end(self) -> None:
        """End both ways; whoever waits on them sees that. From any thread, before :meth:`close`."""
        with contextlib.suppress(OSError):  # the daemon was first
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the descriptors back."""
        self._socket.close()
        self._attached.close()

    def _take(self, data: memoryview) -> None:
        while data:
            if not self._left:
                missing = _HEADER - len(self._header)
                self._header += data[:missing]
                data = data[missing:]
                if len(self._header) < _HEADER:
                    return
                self._stream, self._left = self._header[0], int.from_bytes(self._header[4:], "big")
                self._header.clear()
                if self._stream not in (_STDOUT, _STDERR):
                    raise OSError(f"the daemon sent stream {self._stream}")
                continue
            piece, data = data[: self._left], data[self._left :]
            self._left -= len(piece)
            if self._stream == _STDOUT:
                self._frames += piece
            else:
                self.words = (self.words + piece)[-_WORDS:]
