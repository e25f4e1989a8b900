"""Kernels that lack something: what a jail rests on is required, the rest is said to be missing."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.sandbox import Sandbox, SandboxError, Status, build_sandbox
from src.sandbox.jails.base import worker_modules
from tests.jails import in_jail
from tests.sandbox.helpers import cold


def lacking(monkeypatch: pytest.MonkeyPatch, module: str, old: str, new: str) -> None:
    """Let workers start with ``module`` changed."""
    modules = worker_modules()
    assert old in modules[module]
    modules[module] = modules[module].replace(old, new)
    monkeypatch.setattr("src.sandbox.client.worker_modules", lambda: modules)
    monkeypatch.setattr("src.sandbox.pool._START_PAUSES", (0.0,))


NO_LANDLOCK = ("src.sandbox.landlock", "return max(int(version), 0)", "return 0")
NO_SECCOMP = ("src.sandbox.seccomp", "platform.machine()", "'nothing'")
NO_FAST_FORK = ("src.sandbox.zygote", "PyDLL(None)._Fork", "PyDLL(None)._no_such_function")
SECCOMP_REFUSED = ("src.sandbox.seccomp", "ctypes.c_long(22)", "ctypes.c_long(9999)")


@pytest.mark.parametrize("lack", [NO_SECCOMP, SECCOMP_REFUSED])
@pytest.mark.parametrize("jail", [in_jail("bubblewrap"), in_jail("sandlock")])
def test_a_jail_does_not_start_without_seccomp(
    jail: str, lack: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking(monkeypatch, *lack)
    with pytest.raises(SandboxError, match="seccomp"):
        build_sandbox(cold(jail=jail, workers=1))


@pytest.mark.sandlock
def test_sandlock_does_not_start_without_landlock(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking(monkeypatch, *NO_LANDLOCK)
    with pytest.raises(SandboxError, match="no Landlock"):
        build_sandbox(cold(jail="sandlock", workers=1))


@pytest.fixture(scope="module")
def no_landlock() -> Iterator[Sandbox]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        lacking(monkeypatch, *NO_LANDLOCK)
        with build_sandbox(cold(jail="bubblewrap", workers=1, wall_seconds=2)) as sandbox:
            yield sandbox


@pytest.mark.bubblewrap
def test_bubblewrap_hides_files_without_landlock(no_landlock: Sandbox, tmp_path: Path) -> None:
    secret = secrets.token_hex(8)
    (tmp_path / "secret").write_text(secret)
    root = Path(__file__).resolve().parents[2]
    for path in (tmp_path / "secret", Path("/proc/1/root") / tmp_path.relative_to("/") / "secret"):
        result = no_landlock.run(f"print(open({str(path)!r}).read())")
        assert (result.status, secret in result.stdout) == (Status.ERROR, False)
    for folder in (root, tmp_path, "/home"):
        assert "FileNotFoundError" in (no_landlock.run(f"import os\nos.listdir({str(folder)!r})").error or "")
    names = no_landlock.run("import os\nprint(sorted(os.listdir('/')))").stdout
    assert set(eval(names)) <= {"dev", "etc", "lib", "lib64", "packages", "proc", "python", "tmp", "usr"}
    for name in ("mem", "environ", "maps", "root", "cwd", "fd/0"):
        for pid in (1, "self"):
            result = no_landlock.run(f"print(open('/proc/{pid}/{name}', 'rb').read(100))")
            assert "PATH" not in result.stdout
            assert pid == "self" or result.status is Status.ERROR
    assert no_landlock.run("import os\nos.listdir('/packages')").stdout.count("pytest") == 0


@pytest.mark.bubblewrap
def test_bubblewrap_is_read_only_without_landlock(no_landlock: Sandbox) -> None:
    for folder in ("/", "/dev", "/dev/shm", "/usr", "/packages/numpy", "/etc", "/proc/sys/kernel"):
        result = no_landlock.run(f"import os\nif os.path.isdir({folder!r}): open({folder!r} + '/x', 'w')")
        assert result.status is Status.ERROR, folder
    for name in ("sys/kernel/core_pattern", "sys/kernel/hostname", "sysrq-trigger", "self/oom_score_adj"):
        opened = no_landlock.run(
            f"import os\nos.open('/proc/{name}', os.O_WRONLY)"
        )  # root's uid, if root starts it
        assert opened.status is Status.ERROR


@pytest.mark.parametrize(
    "mess",
    [
        "open('/tmp/left', 'w').write('x')",
        "os.makedirs('/tmp/a/b')",
        "os.chdir('/'); os.rmdir('/tmp/work')",
        "os.chdir('/'); os.rmdir('/tmp/work'); os.symlink('/', '/tmp/work')",
        "os.chdir('/'); os.rmdir('/tmp/work'); open('/tmp/work', 'w').close()",
        "os.chdir('/'); os.rename('/tmp/work', '/tmp/other')",
    ],
)
@pytest.mark.bubblewrap
def test_nothing_survives_without_landlock(no_landlock: Sandbox, mess: str) -> None:
    assert no_landlock.run(f"import os\n{mess}").status is Status.OK
    result = no_landlock.run("import os\nprint(os.listdir('.'), os.listdir('/tmp'))\nopen('x', 'w').close()")
    assert (result.status, result.stdout) == (Status.OK, "[] ['work']\n")


def test_programs_draw_the_same_numbers_where_the_library_has_no_fast_fork(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As before glibc 2.34."""
    lacking(monkeypatch, *NO_FAST_FORK)
    with build_sandbox(cold(jail="unconfined", workers=1)) as sandbox:
        drawn = {sandbox.run("import random\nrandom.random()").stdout for _ in range(3)}
    assert drawn == {"0.8444218515250481\n"}


@pytest.mark.parametrize("gone", ["os.rmdir(os.getcwd())", "os.rename(os.getcwd(), '../other')"])
def test_limits_hold_for_a_program_that_moves_its_folder(gone: str) -> None:
    with build_sandbox(cold(jail="unconfined", workers=1, wall_seconds=3, state="replay")) as sandbox:
        result = sandbox.run(f"""
import os, threading, time
{gone}
for _ in range(60): threading.Thread(target=time.sleep, args=(1,)).start()
""")
        assert (result.status, result.error) == (Status.KILLED, "more than 16 threads")


def test_unconfined_goes_on_without_seccomp_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Then a program can make processes; they are found and killed with it."""
    lacking(monkeypatch, *SECCOMP_REFUSED)
    daemon = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(60)
    os._exit(0)
print(os.wait()[1])
"""
    with build_sandbox(cold(jail="unconfined", workers=1)) as sandbox:
        assert "runs without seccomp" in caplog.text
        for _ in range(2):
            result = sandbox.run(daemon)
            assert (result.status, result.stdout) == (Status.OK, "0\n")
            assert result.seconds < 4
