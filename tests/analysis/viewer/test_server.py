"""The viewer's server: what it answers, to whom, and while a run is being written."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis.data import AnalysisError
from analysis.viewer import served
from analysis.viewer.run_data import RunData
from tests.analysis.viewer import run_files as made
from tests.analysis.viewer.reading import loaded, unpack


class Client:
    """Asks a server; what is not given is as a browser has it."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, path: str, method: str = "GET", host: str | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, headers={"Host": host or f"127.0.0.1:{self.port}"})
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found


@pytest.fixture
def run(tmp_path: Path) -> RunData:
    made.write(tmp_path / "run", steps=2)
    return loaded(tmp_path / "run")


@pytest.fixture
def client(run: RunData) -> Iterator[Client]:
    with served.server([run], "127.0.0.1", 0, every=0.0) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield Client(serving.server_address[1])
        finally:
            serving.shutdown()
            thread.join()


def test_frames_are_those_of_the_run(client: Client, run: RunData) -> None:
    assert client.ask("/data/0/index") == (200, run.index())
    assert client.ask("/data/0/texts/0?epoch=0") == (200, run.texts(0))
    assert client.ask("/data/0/tokens/0?epoch=0") == (200, run.tokens(0))
    status, about = client.ask("/data/0/about")
    assert (status, unpack(about)["config"]["trainer"]) == (200, {"steps": 2})
    status, content = client.ask("/")
    assert status == 200
    assert b"connect-src 'self'" in content


def test_search_finds_rows_with_all_words(client: Client, run: RunData) -> None:
    wanted = [at for at, one in enumerate(run.records(run.rows)) if "at 1 é" in one.segments[0].text]
    assert wanted
    status, found = client.ask("/data/0/search?epoch=0&word=AT+1+%C3%89&word=boxed")
    assert (status, json.loads(found)) == (200, wanted)


@pytest.mark.parametrize(
    "path",
    [
        *("/data/1/index", "/data/0/texts/99?epoch=0", "/data/0/texts/0", "/data/0/texts/0?epoch=7"),
        *("/../../etc/passwd", "/data/0/../../../etc/passwd", "/data/0/%2e%2e/etc/passwd", "//etc/passwd"),
        *("/trajectories.jsonl", "/favicon.ico", "/data/0/texts/-1?epoch=0", "/data/%D9%A0/index"),
        "/data/0/search?epoch=0&word=" + "x" * 3000,
    ],
)
def test_nothing_else_is_served(client: Client, path: str) -> None:
    assert client.ask(path) == (404, b"there is no such thing here\n")


def test_only_reading(client: Client) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert client.ask("/", method)[0] == 501
    status, body = client.ask("/", "HEAD")
    assert (status, body) == (200, b"")


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("localhost:80", True),
        ("127.0.0.1", True),
        ("[::1]:8000", True),
        (socket.gethostname(), True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("[::1", False),
        ("a@localhost", True),
    ],
)
def test_only_under_a_name_of_this_machine(client: Client, host: str, ours: bool) -> None:
    status, body = client.ask("/data/runs", host=host)
    assert status == (200 if ours else 421)
    assert ours or body == b"this server is not at that name\n"


def test_a_run_that_grows(client: Client, run: RunData) -> None:
    before = json.loads(client.ask("/data/runs")[1])
    assert before == [{"name": "a", "version": 1, "epoch": 0}]
    later = made.record("later", step=2)
    made.write_records(run.folder, [later])
    made.write_tokens(run.folder, [made.row(later)])
    after = json.loads(client.ask("/data/runs")[1])
    assert after == [{"name": "a", "version": 2, "epoch": 0}]
    index = unpack(client.ask("/data/0/index")[1])
    assert index["texts"]["problem_id"][index["problem_id"][-1] - 1] == "later"
    assert index["token_columns"][-1] == 1
    made.write_records(run.folder, [made.record("again", step=1, attempt=1)])
    assert json.loads(client.ask("/data/runs")[1]) == [{"name": "a", "version": 3, "epoch": 1}]
    assert client.ask("/data/0/texts/0?epoch=0")[0] == 404, "rows have other numbers now"
    assert client.ask("/data/0/texts/0?epoch=1")[0] == 200


def test_damaged_records_are_said_and_the_server_lives_on(client: Client, run: RunData) -> None:
    file = run.folder / "trajectories.jsonl"
    made.write_records(run.folder, [made.record("good")])
    size = file.stat().st_size
    with file.open("a") as content:
        content.write("{}\n")
    status, body = client.ask("/data/runs")
    assert status == 500
    assert b"not a trajectory record" in body
    os.truncate(file, size)
    assert json.loads(client.ask("/data/runs")[1])[0]["version"] == 2
    assert run.rows[-1].values["problem_id"] == "good"


def test_a_port_that_is_taken_is_named(run: RunData) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        message = (
            rf"port={port}: cannot be used at host=127\.0\.0\.1 \(.*in use.*\); choose another, or port=0"
        )
        with pytest.raises(AnalysisError, match=message):
            served.server([run], "127.0.0.1", port, 1.0)


def test_a_host_that_is_not_here_is_named(run: RunData) -> None:
    with pytest.raises(AnalysisError, match=r"port=0: cannot be used at host=192\.0\.2\.1 "):
        served.server([run], "192.0.2.1", 0, 1.0)
