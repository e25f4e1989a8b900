"""``python -m src.sandbox`` as a command: one JSON object on stdout, and the exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from src.config.paths import ROOT
from tests.jails import JAILS, in_jail

COLD = "sandbox.warm=[]"


def execute(program: bytes, *overrides: str, **environment: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "src.sandbox", COLD, *overrides],
        input=program,
        cwd=ROOT,
        capture_output=True,
        env=os.environ | environment,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def result(program: bytes, *overrides: str) -> dict[str, Any]:
    """What is printed: exactly one object, on one line."""
    code, stdout, _stderr = execute(program, *overrides)
    assert code == 0
    assert stdout.count("\n") == 1
    return dict(json.loads(stdout))


@pytest.mark.parametrize("jail", ["auto", in_jail("bubblewrap"), in_jail("sandlock")])
def test_a_program_that_works(jail: str) -> None:
    said = result("print('é')\n1 + 1".encode(), f"sandbox={jail}")
    assert said.pop("seconds") < 5
    assert said.pop("jail") in (JAILS if jail == "auto" else [jail])
    assert said == {"status": "ok", "output": "é\n2", "stdout": "é\n2\n", "error": None}


@pytest.mark.parametrize("jail", [in_jail("bubblewrap"), in_jail("sandlock"), "unconfined"])
def test_modules_and_data_are_overrides(tmp_path: Path, jail: str) -> None:
    """By paths from the working directory, as a list and by names."""
    (tmp_path / "tools.py").write_text("def double(x): return 2 * x")
    (tmp_path / "table.csv").write_text("1,2")
    place = os.path.relpath(tmp_path, ROOT)
    program = b"import tools\nprint(tools.double(open('data/table.csv').read()))"
    for files in (f"[{place}/table.csv]", f"{{table.csv: {place}/table.csv}}"):
        given = (f"sandbox.packages=[{place}/tools.py]", f"sandbox.files={files}")
        assert result(program, f"sandbox={jail}", *given)["stdout"] == "1,21,2\n"


def test_a_program_that_fails_is_no_failure_of_the_command() -> None:
    said = result(b"print('before')\n1/0")
    assert (said["status"], said["stdout"]) == ("error", "before\n")
    assert said["output"] == said["error"] == "ZeroDivisionError: division by zero"


def test_limits_are_overrides() -> None:
    said = result(b"while True: pass", "sandbox.wall_seconds=0.3")
    assert (said["status"], said["error"]) == ("timeout", "timed out after 0.3 s")


@pytest.mark.parametrize("program", [b"", b"a\0b", b"print('\xff')", b"# \xf0\x9f", b"\xef\xbb\xbfprint(1)"])
def test_any_bytes_are_a_program(program: bytes) -> None:
    assert result(program)["status"] in ("ok", "error")


def test_a_program_that_prints_json_prints_into_ours() -> None:
    assert result(b'print(\'{"status": "ok"}\')')["stdout"] == '{"status": "ok"}\n'


def test_a_sandbox_that_does_not_start_is_infrastructure(tmp_path: Path) -> None:
    code, stdout, _stderr = execute(b"print(1)", "sandbox=bubblewrap", PATH=str(tmp_path))
    said = json.loads(stdout)
    assert (code, said["status"], said["jail"]) == (1, "infrastructure", None)
    assert "apt-get install bubblewrap" in said["error"]


def test_warnings_go_to_stderr_and_nothing_is_left_behind() -> None:
    before = set(os.listdir(ROOT))
    code, stdout, stderr = execute(b"print(1)", "sandbox=unconfined")
    assert (code, json.loads(stdout)["stdout"]) == (0, "1\n")
    assert "rights of this user" in stderr
    assert set(os.listdir(ROOT)) == before


def test_a_mistake_in_the_configuration() -> None:
    code, stdout, stderr = execute(b"print(1)", "sandbox.wall_seconds=-1")
    assert (code, stdout) == (2, "")
    assert "sandbox.wall_seconds=-1: must be above 0" in stderr
