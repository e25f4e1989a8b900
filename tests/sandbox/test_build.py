"""Which jail ``build_sandbox`` takes, and what it says when none works."""

from __future__ import annotations

import ast
import dataclasses
import logging
import sys
from pathlib import Path

import pytest
import yaml

from src.config import SandboxConfig
from src.sandbox import SandboxError, Status, build_sandbox
from src.sandbox.jails import AUTOMATIC, JAILS
from src.sandbox.jails.base import worker_modules
from src.sandbox.jails.unconfined import Unconfined
from src.sandbox.warm_up import WARM_SETS
from tests.sandbox.helpers import cold

CONF = Path(__file__).resolve().parents[2] / "conf" / "sandbox"
ONE = cold(workers=1)


def no_bwrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.sandbox.jails.bubblewrap.shutil.which", lambda _: None)


def no_sandlock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.sandbox.jails.sandlock.abi", lambda: 0)


@pytest.mark.bubblewrap
def test_auto_takes_bubblewrap_first_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), build_sandbox(ONE) as sandbox:
        assert sandbox.jail == "bubblewrap"
        assert sandbox.stats()["executions"] == 0  # the proof does not count
    assert "using bubblewrap" in caplog.text


@pytest.mark.sandlock
def test_auto_falls_back_to_sandlock_and_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    no_bwrap(monkeypatch)
    with caplog.at_level(logging.INFO), build_sandbox(ONE) as sandbox:
        assert sandbox.jail == "sandlock"
        assert sandbox.run("1 + 1").stdout == "2\n"
    assert "not bubblewrap" in caplog.text
    assert "using sandlock" in caplog.text


@pytest.mark.sandlock
def test_a_bwrap_that_does_not_work_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """As where user namespaces are forbidden."""
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'No permissions to create new namespace' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("src.sandbox.pool._START_PAUSES", (0.0,))
    with build_sandbox(ONE) as sandbox:
        assert sandbox.jail == "sandlock"
    assert "No permissions to create new namespace" in caplog.text


def test_no_jail_is_an_error_with_every_reason_and_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    no_bwrap(monkeypatch)
    no_sandlock(monkeypatch)
    with pytest.raises(SandboxError) as error:
        build_sandbox(ONE)
    for part in ("bwrap is not installed", "Landlock version", "apt-get install bubblewrap"):
        assert part in str(error.value)
    for part in ("pip install sandlock", "sandbox=unconfined", "at your own risk"):
        assert part in str(error.value)


def test_auto_never_runs_unconfined() -> None:
    assert "unconfined" not in AUTOMATIC


@pytest.mark.parametrize("jail", ["bubblewrap", "sandlock"])
def test_a_jail_that_is_asked_for_is_not_replaced(jail: str, monkeypatch: pytest.MonkeyPatch) -> None:
    no_bwrap(monkeypatch)
    no_sandlock(monkeypatch)
    with pytest.raises(SandboxError, match=jail):
        build_sandbox(cold(jail=jail, workers=1))


def test_a_jail_that_leaks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Leaky(Unconfined):
        isolates_files = True

    monkeypatch.setitem(JAILS, "bubblewrap", Leaky)
    with pytest.raises(SandboxError, match="reading a forbidden file"):
        build_sandbox(cold(jail="bubblewrap", workers=1))


def test_unconfined_warns_at_every_start(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        caplog.clear()
        with build_sandbox(cold(jail="unconfined", workers=1)) as sandbox:
            assert sandbox.run("print(1)").status is Status.OK
        assert any(record.levelno == logging.WARNING for record in caplog.records)
        assert "rights of this user" in caplog.text


def test_an_unknown_jail_is_named() -> None:
    with pytest.raises(
        SandboxError, match=r"sandbox.jail: 'chroot' is not one of auto, bubblewrap, sandlock"
    ):
        build_sandbox(cold(jail="chroot"))


@pytest.mark.bubblewrap
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.sandbox.jails.base.REQUIRED_PACKAGES", ("nothing_like_it",))
    monkeypatch.setattr("src.sandbox.pool._START_PAUSES", (0.0,))
    with pytest.raises(SandboxError, match="pip install nothing_like_it"):
        build_sandbox(cold(jail="bubblewrap", workers=1))


def test_no_threads_with_one_process() -> None:
    with build_sandbox(cold(workers=1, processes=1)) as sandbox:
        result = sandbox.run("import threading\nthreading.Thread(target=print).start()")
        assert result.error == "RuntimeError: can't start new thread"


def test_every_jail_and_backend_is_an_option() -> None:
    for jail in JAILS:
        assert yaml.safe_load((CONF / f"{jail}.yaml").read_text()) == {"jail": jail}
    backends = {"ray", "sandbox_fusion"}
    for backend in backends:
        chosen = yaml.safe_load((CONF / f"{backend}.yaml").read_text())
        assert chosen["backend"] == backend
    assert {path.stem for path in CONF.glob("*.yaml")} == {"auto", *JAILS, *backends}


def test_every_warm_set_can_be_chosen() -> None:
    (warm,) = (one for one in dataclasses.fields(SandboxConfig) if one.name == "warm")
    assert set(warm.metadata["choices"]) == set(WARM_SETS)


@pytest.mark.parametrize("name", WARM_SETS)
def test_a_warm_set_works_by_itself(name: str) -> None:
    """Its package is there when a program begins."""
    with build_sandbox(SandboxConfig(workers=1, warm=[name])) as sandbox:
        code = f"import sys\nprint([name for name in {sorted(WARM_SETS)!r} if name in sys.modules])"
        assert name in sandbox.run(code).stdout


def test_what_runs_in_the_jail_imports_the_standard_library_only() -> None:
    modules = worker_modules()
    for name, source in modules.items():
        for node in ast.walk(ast.parse(source)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for imported in names:
                allowed = imported in modules or imported.partition(".")[0] in sys.stdlib_module_names
                assert allowed, f"{name} imports {imported}"


def test_each_jail_says_what_it_does_not_guarantee() -> None:
    for jail in JAILS.values():
        text = sys.modules[jail.__module__].__doc__ or ""
        assert "guaranteed:" in text.lower()
        assert "not guaranteed" in text.lower()
