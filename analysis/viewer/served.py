"""Serves the page and the frames of runs over HTTP, also while they are being written.

For one user on this machine: the address is the loopback one unless another is given, and there is no
password. A request must name this machine or its address as its host, so that another site in the user's
browser cannot read the data under a name of its own.
"""

from __future__ import annotations

import ipaddress
import json
import re
import socket
import threading
import time
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from analysis.data import AnalysisError
from analysis.viewer import page
from analysis.viewer.run_data import RunData
from src.run.records import RecordError

_BUDGET = 2.0  # seconds of a request that may go into token columns that are new
_WORDS = 2000  # most characters of a search
_PATH = re.compile(r"/data/([0-9]{1,6})/(index|about|search|texts/([0-9]{1,9})|tokens/([0-9]{1,9}))")


class Served:
    """The runs that are served, one request at a time.

    Args:
        runs: to be served.
        every: least seconds between two looks at their folders.
    """

    def __init__(self, runs: Sequence[RunData], every: float) -> None:
        self.runs, self._every = runs, every
        self._looked = float("-inf")
        self._lock = threading.Lock()
        self._indexes: dict[int, tuple[int, bytes]] = {}  # run -> version, index

    def state(self) -> bytes:
        """Look at the folders and return, as JSON, which version of each run there is."""
        with self._lock:
            if time.monotonic() - self._looked >= self._every:
                for run in self.runs:
                    run.refresh(_BUDGET)
                self._looked = time.monotonic()
            found = [{"name": run.name, "version": run.version, "epoch": run.epoch} for run in self.runs]
        return json.dumps(found).encode()

    def data(self, path: str, query: str) -> bytes | None:
        """Return what is asked for; None: there is no such thing (any more)."""
        match = _PATH.fullmatch(path)
        if match is None or int(match[1]) >= len(self.runs):
            return None
        number, run = int(match[1]), self.runs[int(match[1])]
        given = parse_qs(query)
        with self._lock:
            if match[2] == "index":
                version, index = self._indexes.get(number, (-1, b""))
                if version != run.version:
                    index = run.index()
                    self._indexes[number] = (run.version, index)
                return index
            if match[2] == "about":
                return run.about()
            if given.get("epoch") != [str(run.epoch)]:
                return None
            if match[2] == "search":
                words = [word.lower() for word in given.get("word", [])]
                return json.dumps(run.search(words)).encode() if sum(map(len, words)) <= _WORDS else None
            chunk = int(match[3] or match[4])
            if chunk >= len(run.starts()) - 1:
                return None
            return run.texts(chunk) if match[3] else run.tokens(chunk)


def own_host(host: str, bound: str) -> bool:
    """Whether a ``Host`` header names an address, this machine, or what the server is bound to."""
    name = urlsplit(f"//{host}").hostname if host.isprintable() else None
    if name is None:
        return False
    if name in {"localhost", bound.lower(), socket.gethostname().lower()}:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD; http.server refuses every other method."""

    server: _Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "viewer", ""
    timeout = 30

    def do_GET(self) -> None:
        """Answer a request."""
        try:
            host_is_ours = own_host(self.headers.get("Host", ""), self.server.bound)
        except ValueError:
            host_is_ours = False
        if not host_is_ours:
            self._send(HTTPStatus.MISDIRECTED_REQUEST, "text/plain", b"this server is not at that name\n")
            return
        try:
            address = urlsplit(self.path)
            if address.path == "/":
                self._send(HTTPStatus.OK, "text/html; charset=utf-8", self.server.page)
            elif address.path == "/data/runs":
                self._send(HTTPStatus.OK, "application/json", self.server.served.state())
            else:
                data = self.server.served.data(address.path, address.query)
                if data is None:
                    self._send(HTTPStatus.NOT_FOUND, "text/plain", b"there is no such thing here\n")
                else:
                    self._send(HTTPStatus.OK, "application/octet-stream", data)
        except (RecordError, OSError) as error:
            if isinstance(error, ConnectionError):
                return  # the browser went away
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", f"{error}\n".encode())
        except ValueError:
            self._send(HTTPStatus.BAD_REQUEST, "text/plain", b"not a valid address\n")

    do_HEAD = do_GET

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing of requests."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, host: str, port: int, served: Served, content: bytes) -> None:
        self.bound, self.served, self.page = host, served, content
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)


def server(runs: Sequence[RunData], host: str, port: int, every: float) -> _Server:
    """Return a server that is bound but does not answer yet; its ``server_address`` has the port.

    Args:
        runs: to be served.
        host: address that it is bound to.
        port: 0: any that is free.
        every: seconds between two looks of the page.

    Raises:
        AnalysisError: the address cannot be used.
    """
    before, after = page.parts(every=every)
    try:
        return _Server(host, port, Served(runs, every), (before + after).encode())
    except OSError as error:
        raise AnalysisError(
            f"port={port}: cannot be used at host={host} ({error.strerror or error}); choose another, or "
            "port=0 for any that is free"
        ) from None
