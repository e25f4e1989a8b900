"""A server that is going, or gone, while its connections stay open: the rollout ends instead of waiting."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from src.rollout.engines import EngineError, Request
from src.rollout.engines.vllm_server import VLLMServerEngine
from tests.fakes import BPE


class Leaving(ThreadingHTTPServer):
    """Takes requests and never answers them; ``status`` is that of /health."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked, self.end, self.status, self.looks = threading.Event(), threading.Event(), 200, 0
        super().__init__(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self.thread.start()

    def refuse(self) -> None:
        """Take no new connection; those that are open stay."""
        self.shutdown()
        self.thread.join()
        self.socket.close()


class Handler(BaseHTTPRequestHandler):
    server: Leaving

    def do_GET(self) -> None:
        health = self.path == "/health"
        self.server.looks += health
        body = b"" if health else json.dumps({"data": [{"id": "m", "max_model_len": 512}]}).encode()
        self.send_response(self.server.status if health else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.server.asked.set()
        self.server.end.wait(60)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Leaving]:
    monkeypatch.setattr("src.rollout.engines.server_watch._EVERY", 0.02)
    server = Leaving()
    yield server
    server.end.set()
    server.shutdown()
    server.server_close()


def waiting(server: Leaving) -> VLLMServerEngine:
    """An engine with one request under way."""
    url = f"http://127.0.0.1:{server.server_address[1]}"
    engine = VLLMServerEngine(url, BPE, temperature=1.0, top_p=1.0, start_seconds=5.0)
    engine.start(lambda: None)
    engine.submit(Request(id=0, token_ids=[5], max_tokens=4))
    assert server.asked.wait(20)
    return engine


def error_of(engine: VLLMServerEngine, seconds: float) -> str:
    """What poll raises within that time; nothing if it does not."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            assert engine.poll() == []
        except EngineError as error:
            return str(error)
        time.sleep(0.01)
    return ""


def test_one_that_takes_no_connection_any_more(server: Leaving) -> None:
    with waiting(server) as engine:
        server.refuse()
        assert "is unavailable (ClientConnectorError: " in error_of(engine, 30)


def test_one_whose_engine_is_dead(server: Leaving) -> None:
    with waiting(server) as engine:
        server.status = 503
        said = error_of(engine, 30)
        assert "is unavailable (status 503); restart it and resume the run" in said


def test_one_that_only_takes_its_time_is_waited_for(server: Leaving) -> None:
    with waiting(server) as engine:
        assert error_of(engine, 0.5) == ""
        assert server.looks > 5
        server.status = 404  # an older one, or another
        assert error_of(engine, 0.3) == ""


def test_an_idle_client_does_not_look(server: Leaving) -> None:
    with waiting(server) as engine:
        engine.stop()
        looks = server.looks
        time.sleep(0.3)
        assert server.looks <= looks + 1
