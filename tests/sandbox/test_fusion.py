"""The client of SandboxFusion, against a server on this machine that executes, or fails as told."""

from __future__ import annotations

import gzip
import itertools
import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from src.config import SandboxConfig, SandboxFusionConfig
from src.sandbox import ExecutionResult, Sandbox, SandboxError, Status, build_sandbox
from tests.sandbox.fusion_server import (
    FusionServer,
    answer,
    drips,
    drips_headers,
    fails_without_end,
    hangs,
    replies,
    resets,
)
from tests.sandbox.helpers import eventually

RETRIES = 2


@pytest.fixture
def server() -> Iterator[FusionServer]:
    made = FusionServer()
    yield made
    made.close()


def config(url: str | None, **changes: Any) -> SandboxConfig:
    service = SandboxFusionConfig(url=url, retries=RETRIES, pause_seconds=0.02)
    values = {"workers": 1, "wall_seconds": 2.0, **changes}
    return SandboxConfig(backend="sandbox_fusion", sandbox_fusion=service, **values)


@pytest.fixture
def sandbox(server: FusionServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    monkeypatch.setattr("src.sandbox.pool._START_PAUSES", (0.0,))
    monkeypatch.setattr("src.sandbox.pool._OUTAGE", 0.0)
    with build_sandbox(config(server.url)) as made:
        server.requests.clear()
        yield made


PROGRAMS = {
    "an echo": "x = 6\nx * 7",
    "no echo of None": "print('a')",
    "nothing": "",
    "stderr alone": "import sys, warnings\nprint('é', file=sys.stderr)\nwarnings.warn('old')",
    "stderr and an output": "import sys\nprint('a', file=sys.stderr)\nprint('b')",
    "its own source": "import inspect\ndef f(): pass\nprint(inspect.getsource(f))",
    "a scalar of numpy": "import numpy as np\nnp.float64(0.5), [np.int64(1)]",
    "text": "print('é', '日本', '\\ud800')\n'ü'",
    "an exception": "print(1)\n{}['missing']",
    "an exception of its own, in many lines": "class Wrong(Exception): pass\nraise Wrong('a\\nb')",
    "a syntax error": "print(1\nx = ",
    "an exit": "import sys\nprint(2)\nsys.exit()",
    "an exit with a code": "raise SystemExit(3)",
    "an exit with a message": "exit('enough')",
    "an exit without clean-up": "import os\nprint(4, flush=True)\nos._exit(5)",
    "a signal": "import os\nos.kill(os.getpid(), 9)",
    "an alarm that it set itself, and caught": (
        "import signal\nsignal.signal(signal.SIGALRM, lambda *_: print('rang'))\n"
        "signal.alarm(1)\nsignal.pause()"
    ),
    "threads": "import threading\nthreading.Timer(0.1, print, ['late']).start()\nprint('early')",
    "its own name and environment": "import os, sys\n__name__, dict(os.environ), sys.argv, sorted(globals())",
    "the order of a set": "print({str(n) for n in range(50)})",
    "standard input and error": "import sys\nprint('lost', file=sys.stderr)\ninput()",
    "too much memory": "bytearray(10**9)",
    "no end": "print(1)\nwhile True: pass",
    "a lone surrogate": "'\ud800'",
    "long output": "print('x' * 200_000)",
}


@pytest.fixture(scope="module")
def calm() -> Iterator[Sandbox]:
    """For programs that leave service and client in peace."""
    server = FusionServer()
    with build_sandbox(config(server.url)) as made:
        yield made
    server.close()


@pytest.fixture(scope="module")
def local() -> Iterator[Sandbox]:
    with build_sandbox(SandboxConfig(workers=1, warm=[], wall_seconds=2.0)) as made:
        yield made


@pytest.mark.parametrize("code", PROGRAMS.values(), ids=PROGRAMS)
def test_a_program_means_what_it_means_in_a_jail_here(calm: Sandbox, local: Sandbox, code: str) -> None:
    there, here = calm.run(code), local.run(code)
    assert (there.status, there.stdout, there.error) == (here.status, here.stdout, here.error)
    assert there.seconds == pytest.approx(here.seconds, abs=1.0)


def test_without_echo_only_what_is_printed_is_shown(server: FusionServer) -> None:
    with build_sandbox(config(server.url, echo=False)) as silent:
        assert [silent.run(code).stdout for code in ("6 * 7", "print(1)\n'a'")] == ["", "1\n"]


def test_mathematics_runs_within_the_memory_limit(server: FusionServer) -> None:
    code = "import numpy, sympy\nprint(sympy.sqrt(8), numpy.linalg.inv(numpy.eye(2))[0, 0])"
    with build_sandbox(config(server.url, wall_seconds=30.0)) as patient:
        result = patient.run(code)
    assert result.stdout == "2*sqrt(2) 1.0\n", result


def test_the_request_is_that_of_the_documented_interface(sandbox: Sandbox, server: FusionServer) -> None:
    sandbox.run("print('ü')")
    (request,) = server.requests
    assert set(request) == {"language", "code", "run_timeout", "memory_limit_MB"}
    assert request["language"] == "python"
    assert request["code"].isascii()
    assert 2.0 < request["run_timeout"] < 10
    assert request["memory_limit_MB"] > 512


class TestReplay:
    def test_earlier_programs_run_again_in_silence(self, server: FusionServer) -> None:
        with build_sandbox(config(server.url, state="replay")) as sandbox:
            assert sandbox.run("import math\nx = 2\nprint('once')\nx", trajectory="a").stdout == "once\n2\n"
            assert sandbox.run("1/0", trajectory="a").error == "ZeroDivisionError: division by zero"
            assert sandbox.run("x += 1\nprint('twice')", trajectory="a").stdout == "twice\n"
            assert sandbox.run("math.sqrt(x * 3)", trajectory="a").stdout == "3.0\n"
            assert sandbox.run("x", trajectory="b").error == "NameError: name 'x' is not defined"
            assert sandbox.run("sorted(globals())[-2:]", trajectory="a").stdout == "['math', 'x']\n"

    def test_the_limit_is_that_of_the_last_program(self, server: FusionServer) -> None:
        with build_sandbox(config(server.url, state="replay", wall_seconds=1.5)) as sandbox:
            for _ in range(2):
                assert sandbox.run("import time\ntime.sleep(0.8)", trajectory="a").status is Status.OK
            began = time.monotonic()
            result = sandbox.run("print('x')\nwhile True: pass", trajectory="a")
            assert (result.status, result.stdout, result.seconds) == (Status.TIMEOUT, "x\n", 1.5)
            assert 3.1 < time.monotonic() - began < 7.5

    def test_a_program_that_does_not_run_again_is_its_trajectorys_fault(
        self, server: FusionServer, tmp_path: Any
    ) -> None:
        with build_sandbox(config(server.url, state="replay")) as sandbox:
            assert (
                sandbox.run(f"open({str(tmp_path / 'once')!r}, 'x')\n0", trajectory="a").status is Status.OK
            )
            result = sandbox.run("print(1)", trajectory="a")
            assert (result.status, result.stdout) == (Status.ERROR, "")
            assert result.error == "an earlier program of this trajectory, run again for its state, failed"

    @pytest.mark.parametrize(
        "said",
        ["b'junk'", "b'[]'", "b'[' * 100_000", "b'x\\n' * 1_000_000", "mark", "mark + b' nan'"],
    )
    def test_nor_one_that_then_writes_what_the_reports_are_not(
        self, server: FusionServer, tmp_path: Any, said: str
    ) -> None:
        """It finds the mark in its own script."""
        code = f"""
import os, pathlib, re
if os.path.exists({str(tmp_path / "once")!r}):
    script = pathlib.Path("/proc/self/cmdline").read_bytes().split(bytes(1))[1]
    mark = re.search(b"[0-9a-f]{{32}}", pathlib.Path(script.decode()).read_bytes())[0]
    os.write(100, {said} + b"\\n")
open({str(tmp_path / "once")!r}, "w")
"""
        with build_sandbox(config(server.url, state="replay")) as sandbox:
            assert sandbox.run(code, trajectory="a").status is Status.OK
            result = sandbox.run("print(1)", trajectory="a")
            assert (result.status, result.stdout) == (Status.ERROR, "")
            assert result.error == "an earlier program of this trajectory, run again for its state, failed"
            assert sandbox.stats()["restarts"] == 0


class TestStatuses:
    """Answers that the server is told to give."""

    def test_a_program_that_switched_its_timer_off_is_stopped_by_the_service(
        self, calm: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("src.sandbox.fusion_program._START_SECONDS", 1.0)
        result = calm.run("import signal\nsignal.alarm(0)\nprint(1)\nwhile True: pass")
        assert (result.status, result.stdout, result.seconds) == (Status.TIMEOUT, "1\n", 2.0)
        assert result.error == "timed out after 2 s"

    @pytest.mark.parametrize("forged", ["b'{}\\n'", "b'\\xff'", "b'[' * 50_000", "b'x\\n' * 1_000_000"])
    def test_a_program_that_writes_its_own_report_fools_only_itself(self, calm: Sandbox, forged: str) -> None:
        result = calm.run(f"import os\nos.write(100, {forged})\nprint(1)")
        assert (result.status, result.stdout) == (Status.ERROR, "1\n")
        assert result.error == "the program wrote over its own report"
        assert calm.run("print(1)").status is Status.OK
        assert calm.stats()["restarts"] == 0

    @pytest.mark.parametrize(
        ("said", "reason"),
        [
            ({"status": "SandboxError", "message": "no room", "run_result": None}, "SandboxError: no room"),
            ({"status": "Odd", "message": ""}, "the service says Odd"),
            ({"status": "Success", "message": ""}, "nonsense: KeyError: 'run_result'"),
            ({"status": "Success", "message": "", "run_result": None}, "nonsense: TypeError"),
            (answer("Error", None, "", "could not fork"), "nonsense: .*could not fork"),
            (answer("Finished", 0, "42\n", ""), "the program was not begun: without a reason"),
            (
                answer("Finished", 127, "", "python: not found"),
                "the program was not begun: python: not found",
            ),
            (answer("Finished", 1, "", "Traceback\nMemoryError"), "not begun: MemoryError"),
            (answer("TimeLimitExceeded", None, "", ""), "the program was not begun"),
            (answer("Finished", 0, None, ""), "nonsense: "),  # type: ignore[arg-type]
            (answer("Finished", None, "", ""), "nonsense: TypeError"),
            ([], "nonsense: TypeError"),
            (b"<html>", "nonsense: Expecting value"),
            (b"[" * 100_000, "nonsense: "),
            (b"\xff", "nonsense: "),
            (b"", "nonsense: "),
        ],
        ids=map(str, itertools.count()),
    )
    def test_an_answer_that_says_nothing_of_the_program_is_infrastructure(
        self, sandbox: Sandbox, server: FusionServer, said: Any, reason: str
    ) -> None:
        server.script = [replies(200, said)] * 3  # for the program, then for the new lane
        result = sandbox.run("print(1)")
        assert result.status is Status.INFRASTRUCTURE
        assert re.search(reason, result.error or ""), result.error
        assert len(server.requests) >= 2  # the pool goes on trying to get a lane
        assert sandbox.run("print(1)").status is Status.OK

    def test_once_is_not_enough_to_lose_a_program(self, sandbox: Sandbox, server: FusionServer) -> None:
        server.script = [replies(200, {"status": "SandboxError", "message": ""})]
        assert sandbox.run("print(1)").stdout == "1\n"
        assert sandbox.stats()["restarts"] == 1


class TestTransport:
    @pytest.mark.parametrize(
        "trouble",
        [replies(429), replies(500), replies(502), replies(503, b"{}", **{"Retry-After": "0"}), resets],
        ids=["429", "500", "502", "503", "reset"],
    )
    def test_what_passes_is_asked_again(self, sandbox: Sandbox, server: FusionServer, trouble: Any) -> None:
        server.script = [trouble] * RETRIES
        assert sandbox.run("print(1)").stdout == "1\n"
        assert len(server.requests) == 1 + RETRIES
        assert sandbox.stats()["restarts"] == 0

    @pytest.mark.parametrize("trouble", [replies(500), resets], ids=["500", "reset"])
    def test_what_lasts_is_infrastructure_after_a_bounded_number_of_requests(
        self, sandbox: Sandbox, server: FusionServer, trouble: Any
    ) -> None:
        server.script = [trouble] * 100
        result = sandbox.run("print(61)")
        assert result.status is Status.INFRASTRUCTURE
        assert server.url in (result.error or "")
        mine = [request for request in server.requests if "print(61)" in json.dumps(request)]
        assert len(mine) == 1 + RETRIES  # what else came is the new lane's own
        server.script = []
        assert sandbox.run("print(1)").status is Status.OK

    def test_what_is_wrong_with_the_request_is_not_repeated(
        self, sandbox: Sandbox, server: FusionServer
    ) -> None:
        server.script = [replies(422, {"detail": "no such field"})] * 3
        result = sandbox.run("print(1)")
        assert result.status is Status.INFRASTRUCTURE
        assert "422" in (result.error or "")
        assert "no such field" in (result.error or "")
        assert len(server.requests) >= 2  # the pool goes on trying to get a lane

    def test_a_long_pause_that_the_service_asks_for_is_cut_short(
        self, sandbox: Sandbox, server: FusionServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pauses: list[float] = []
        slept = SimpleNamespace(sleep=pauses.append, time=time.time)
        monkeypatch.setattr("urllib3.util.retry.time", slept)
        server.script = [replies(503, b"{}", **{"Retry-After": "3600"})]
        assert sandbox.run("print(1)").stdout == "1\n"
        assert pauses == [10]

    def test_pauses_grow_and_differ(
        self, sandbox: Sandbox, server: FusionServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pauses: list[float] = []
        slept = SimpleNamespace(sleep=pauses.append, time=time.time)
        monkeypatch.setattr("urllib3.util.retry.time", slept)
        for _ in range(5):
            server.script = [replies(500)] * RETRIES
            sandbox.run("print(1)")
        assert all(0.01 <= pause <= 0.02 for pause in pauses[::2])
        assert all(0.02 <= pause <= 0.04 for pause in pauses[1::2])
        assert len(set(pauses)) == 10

    def test_a_service_that_keeps_silent_is_left_in_time(
        self, server: FusionServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("src.sandbox.pool._START_PAUSES", (0.0,))
        monkeypatch.setattr("src.sandbox.fusion_program._START_SECONDS", 0.5)
        monkeypatch.setattr("src.sandbox.fusion_lane._ANSWER", 0.5)
        with build_sandbox(config(server.url, wall_seconds=0.5)) as sandbox:
            server.requests.clear()
            server.script = [hangs] * 10
            began = time.monotonic()
            assert sandbox.run("print(1)").status is Status.INFRASTRUCTURE
            assert time.monotonic() - began < 5
            assert len(server.requests) == 2  # no retry of the client's

    @pytest.mark.parametrize(
        "failure",
        [
            drips,
            pytest.param(drips_headers, marks=pytest.mark.long),
            fails_without_end,
            resets,
            replies(200, b" " * (17 << 20)),
            replies(200, {"status": "SandboxError", "message": "the container died"}),
            replies(200, b"<html>"),
            replies(500),
        ],
        ids=["drips", "its headers drip", "error without end", "reset", "long", "sorry", "no JSON", "500"],
    )
    def test_a_failure_under_one_program_only_is_the_programs(
        self, server: FusionServer, failure: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Twice, while the service serves others."""
        monkeypatch.setattr("src.sandbox.pool._START_PAUSES", (0.0,))
        monkeypatch.setattr("src.sandbox.fusion_program._START_SECONDS", 0.3)
        monkeypatch.setattr("src.sandbox.fusion_lane._ANSWER", 0.3)
        monkeypatch.setattr("src.sandbox.fusion_lane._CONNECT", 0.5)
        monkeypatch.setattr("src.sandbox.fusion_lane._LONGEST", 0.5)
        with build_sandbox(config(server.url, wall_seconds=1.0)) as sandbox:
            act = server.scripted

            def scripted(request: dict[str, Any]) -> Any:
                return failure if "print(61)" in json.dumps(request) else act(request)

            monkeypatch.setattr(server, "scripted", scripted)
            began = time.monotonic()
            result = sandbox.run("print(61)")
            assert result.status is Status.KILLED
            assert time.monotonic() - began < 40
            assert sandbox.run("print(1)").stdout == "1\n"

    def test_a_service_that_reads_the_output_at_the_end_does_not_hold_the_program_up(
        self, sandbox: Sandbox, server: FusionServer
    ) -> None:
        """A pipe holds 64 KB."""
        server.reads_late = True
        result = sandbox.run("print('x' * 150_000)\nprint('end')")
        assert (result.status, result.stdout) == (Status.OK, "x" * 65536)

    def test_the_output_is_there_once_the_program_has_ended(
        self, sandbox: Sandbox, server: FusionServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However slowly it is passed on."""
        from src.sandbox import fusion_program

        slow = fusion_program._SCRIPT.replace("kept, most =", "time.sleep(0.2); kept, most =")
        assert slow != fusion_program._SCRIPT
        monkeypatch.setattr(fusion_program, "_SCRIPT", slow)
        server.reads_once = True
        assert sandbox.run("print(1)").stdout == "1\n"
        ended = sandbox.run("import os\nprint(2, flush=True)\nos.abort()")
        assert (ended.stdout, ended.error) == ("2\n", "killed by signal 6 (SIGABRT)")

    def test_a_process_that_a_program_leaves_is_not_waited_for(
        self, sandbox: Sandbox, server: FusionServer
    ) -> None:
        server.reads_once = True
        result = sandbox.run("import os, time\nprint(1)\nif os.fork() == 0: time.sleep(9)")
        assert (result.status, result.stdout) == (Status.OK, "1\n")
        assert result.seconds < 7

    def test_a_compressed_answer_is_not_unpacked(self, sandbox: Sandbox, server: FusionServer) -> None:
        bomb = gzip.compress(bytes(64 << 20))
        server.script = [replies(200, bomb, **{"Content-Encoding": "gzip"})] * 3
        result = sandbox.run("print(1)")
        assert result.status is Status.INFRASTRUCTURE
        assert "compressed (gzip)" in (result.error or "")

    def test_cancelling_and_closing_do_not_wait_for_the_service(
        self, sandbox: Sandbox, server: FusionServer
    ) -> None:
        server.script = [hangs, hangs]
        began = time.monotonic()
        first = sandbox.submit("print(1)")
        assert eventually(lambda: len(server.requests) == 1)
        sandbox.cancel(first)
        assert first.result().status is Status.KILLED
        assert sandbox.stats()["restarts"] == 0
        second: Future[ExecutionResult] = sandbox.submit("print(2)")
        assert eventually(lambda: len(server.requests) == 2)
        sandbox.close()
        assert second.result().status is Status.INFRASTRUCTURE
        assert time.monotonic() - began < 2

    def test_connections_are_kept(self, sandbox: Sandbox, server: FusionServer) -> None:
        for number in range(20):
            assert sandbox.run(f"print({number})").stdout == f"{number}\n"
        assert server.connections == 1

    @pytest.mark.long
    def test_many_at_once_are_not_mixed_up(self, server: FusionServer) -> None:
        with build_sandbox(config(server.url, workers=8, wall_seconds=10.0)) as sandbox:
            futures = {token: sandbox.submit(f"print({token})") for token in range(64)}
            for token, future in futures.items():
                assert (future.result().status, future.result().stdout) == (Status.OK, f"{token}\n")
            assert sandbox.stats()["restarts"] == 0
        assert server.connections <= 8
        before = threading.active_count()
        assert eventually(lambda: threading.active_count() <= before)


class TestStart:
    def test_a_service_that_is_not_there_is_an_error_soon(self) -> None:
        began = time.monotonic()
        with pytest.raises(
            SandboxError, match=r"127\.0\.0\.1:1/run_code.*remedy: start the service, or correct"
        ):
            build_sandbox(config("http://127.0.0.1:1"))
        assert time.monotonic() - began < 3

    def test_another_service_at_that_address_is_an_error(self, server: FusionServer) -> None:
        with pytest.raises(SandboxError, match="answered 404"):
            build_sandbox(config(server.url + "/elsewhere"))

    def test_a_slash_at_the_end_does_no_harm(self, server: FusionServer) -> None:
        with build_sandbox(config(server.url + "/")) as sandbox:
            assert sandbox.run("1 + 1").output == "2"

    def test_the_service_is_proved_once_and_each_lane_has_a_program_run(self, server: FusionServer) -> None:
        with build_sandbox(config(server.url, workers=4)) as sandbox:
            assert sandbox.jail == "sandbox_fusion"
            assert len(server.requests) == 3 + 4
