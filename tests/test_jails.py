"""``make test`` where a jail does not work: what needs it is reported, the rest runs; else it fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from src.config.paths import ROOT

pytestmark = pytest.mark.long
# three tests: in bubblewrap, in sandlock, in the one that sandbox=auto takes
TESTS = "tests/sandbox/test_main.py::test_a_program_that_works"
MISSING = r"the program bwrap is not installed; remedy: apt-get install bubblewrap"


def pytest_in(path: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """Return exit code and output of pytest where programs are looked for in ``path`` alone."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        | {"PATH": str(path)}
        | environment,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.sandlock
@pytest.mark.parametrize("processes", ["-n0", "-n2"])
def test_what_needs_a_missing_jail_is_reported_and_the_rest_runs(tmp_path: Path, processes: str) -> None:
    code, said = pytest_in(tmp_path, processes, TESTS)
    assert code == 0, said
    assert re.search(rf"^NOT RUN: 1 tests in bubblewrap: {MISSING}$", said, re.MULTILINE), said
    assert "2 passed" in said


@pytest.mark.sandlock
def test_a_jail_is_there_only_if_it_works(tmp_path: Path) -> None:
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'No permissions to create new namespace' >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    code, said = pytest_in(tmp_path, "-n0", TESTS)
    assert code == 0, said
    assert re.search(r"^NOT RUN: 1 tests in bubblewrap: .*No permissions to create", said, re.MULTILINE), said


@pytest.mark.sandlock
def test_the_sandbox_is_attacked_in_the_jail_that_there_is(tmp_path: Path) -> None:
    _, said = pytest_in(tmp_path, "-n0", "--collect-only", "-q", "tests/sandbox/test_limits.py")
    assert "[sandlock-" in said
    assert "[bubblewrap-" not in said


def test_continuous_integration_accepts_none_missing(tmp_path: Path) -> None:
    code, said = pytest_in(tmp_path, "-n0", "--require-jails", TESTS)
    assert code == pytest.ExitCode.USAGE_ERROR
    assert re.search(rf"--require-jails: bubblewrap does not work: {MISSING}", said), said
    runs = (ROOT / ".ci/run").read_text().splitlines()
    for target in ("test", "test-long"):
        (line,) = [line for line in runs if re.match(rf"timed make {target}(?![\w-])", line)]
        assert "--require-jails" in line


@pytest.mark.parametrize("processes", ["-n0", "-n2"])
def test_without_any_jail_it_is_an_error(tmp_path: Path, processes: str) -> None:
    (tmp_path / "no_landlock.py").write_text("import src.sandbox.jails.sandlock as s\ns.abi = lambda: 0\n")
    tests = [TESTS, "tests/sandbox/test_build.py::test_an_unknown_jail_is_named"]
    tests[0] += "[bubblewrap]"
    code, said = pytest_in(tmp_path, processes, "-p", "no_landlock", *tests, PYTHONPATH=f"{ROOT}:{tmp_path}")
    assert code == pytest.ExitCode.TESTS_FAILED, said
    assert "1 passed" in said
    assert "ERROR: no jail works here, so the sandbox was not tested" in said
