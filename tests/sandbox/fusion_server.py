"""A server on this machine that answers ``/run_code`` as SandboxFusion documents it, and fails as told."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_CAPTURED = 1 << 20  # bytes of output that the service keeps


def run_python(request: dict[str, Any], reads_late: bool = False, reads_once: bool = False) -> dict[str, Any]:
    """The answer to a request: the code in a file of a new folder, run by a shell."""
    limit = request["memory_limit_MB"] * 2**20

    def limits() -> None:
        for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA, resource.RLIMIT_STACK):
            resource.setrlimit(kind, (limit, resource.getrlimit(kind)[1]))

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "program.py")
        file.write_text(request["code"], encoding="ascii")
        began = time.time()
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"{sys.executable} {file}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            start_new_session=True,
            preexec_fn=limits,
        )
        try:
            if reads_late or reads_once:
                process.wait(timeout=request["run_timeout"])
            if reads_once:
                output = _there(process.stdout), _there(process.stderr)
            else:
                output = process.communicate(timeout=request["run_timeout"])
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output = process.communicate()
            status, code = "TimeLimitExceeded", None
        else:
            status, code = "Finished", process.returncode
        taken = time.time() - began
    stdout, stderr = map(_text, output)
    return answer(status, code, stdout, stderr, taken)


def _there(pipe: Any) -> bytes:
    """What is in ``pipe`` now."""
    os.set_blocking(pipe.fileno(), False)
    with pipe:
        return pipe.read() or b""


def _text(data: bytes) -> str:
    try:
        return data[:_CAPTURED].decode()
    except UnicodeDecodeError as error:
        return f"[DecodeError] {error}"


def answer(status: str, code: int | None, stdout: str, stderr: str, seconds: float = 0.1) -> dict[str, Any]:
    return {
        "status": "Success" if status == "Finished" and code == 0 else "Failed",
        "message": "",
        "compile_result": None,
        "run_result": {
            "status": status,
            "execution_time": seconds,
            "return_code": code,
            "stdout": stdout,
            "stderr": stderr,
        },
        "executor_pod_name": None,
        "files": {},
    }


class FusionServer:
    """Serves from threads; ``script`` holds what the next requests get instead of an answer, in order."""

    def __init__(self) -> None:
        self.script: list[Callable[[Handler], None]] = []
        self.requests: list[dict[str, Any]] = []
        self.connections = 0
        self.reads_late = False  # the output, once the program has ended
        self.reads_once = False  # then, and only what is there, as SandboxFusion did until 2025
        self.released = threading.Event()  # lets a hanging request go
        fusion = self

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def process_request(self, request: Any, client_address: Any) -> None:
                fusion.connections += 1
                super().process_request(request, client_address)

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.fusion = self  # type: ignore[attr-defined]
        self._lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def scripted(self, request: dict[str, Any]) -> Callable[[Handler], None] | None:
        with self._lock:
            self.requests.append(request)
            return self.script.pop(0) if self.script else None

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


class Handler(BaseHTTPRequestHandler):
    """One connection, kept open between requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.fusion: FusionServer = self.server.fusion  # type: ignore[attr-defined]
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        act = self.fusion.scripted(request)
        if self.path != "/run_code":
            self.reply(404, b"{}")
        elif act is not None:
            act(self)
        else:
            result = run_python(request, self.fusion.reads_late, self.fusion.reads_once)
            self.reply(200, json.dumps(result).encode())

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        pass


def replies(status: int, body: Any = b"{}", **headers: str) -> Callable[[Handler], None]:
    """A scripted answer; ``body`` is sent as JSON unless it is bytes."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda handler: handler.reply(status, data, headers)


def hangs(handler: Handler) -> None:
    handler.fusion.released.wait(60)
    handler.close_connection = True


def drips(handler: Handler) -> None:
    """An answer that begins and never ends, a byte at a time."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    handler.close_connection = True
    with contextlib.suppress(OSError):
        while not handler.fusion.released.wait(0.02):
            handler.wfile.write(b" ")


def drips_headers(handler: Handler) -> None:
    """The same before the body."""
    handler.close_connection = True
    handler.send_response(200)
    with contextlib.suppress(OSError):
        handler.flush_headers()
        while not handler.fusion.released.wait(0.02):
            handler.wfile.write(b"x")


def fails_without_end(handler: Handler) -> None:
    """An error whose explanation never ends."""
    handler.close_connection = True
    handler.send_response(500)
    handler.end_headers()
    with contextlib.suppress(OSError):
        while not handler.fusion.released.is_set():
            handler.wfile.write(bytes(1 << 16))


def resets(handler: Handler) -> None:
    """Close so that the other side sees a reset."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True
