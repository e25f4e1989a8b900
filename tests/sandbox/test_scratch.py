"""Folders of the host for a worker's programs: what a killed caller leaves is removed by the next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from src.sandbox.jails import scratch
from src.sandbox.jails.scratch import Scratch, sweep

OWNER = """
import sys, time
from src.sandbox.jails.scratch import Scratch
print(Scratch(in_memory=False).folder, flush=True)
time.sleep(600)
"""


@pytest.fixture
def owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[subprocess.Popen[str], Path]:
    """Another process with a folder, in which a closed one holds a file."""
    monkeypatch.setattr(scratch, "_NEW", 0.0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", OWNER]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    folder = Path(process.stdout.readline().strip())
    (folder / "closed").mkdir()
    (folder / "closed" / "file").write_text("x")
    (folder / "closed").chmod(0)
    return process, folder


def test_only_what_nobody_holds_is_removed(owner: tuple[subprocess.Popen[str], Path]) -> None:
    process, folder = owner
    mine = Scratch(in_memory=False)
    try:
        assert not {str(folder), mine.folder} & set(sweep(str(folder.parent)))
        assert folder.is_dir()
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert str(folder) in sweep(str(folder.parent))
        assert (folder.exists(), Path(mine.folder).is_dir()) == (False, True)
    finally:
        process.kill()
        process.wait()
        mine.remove()
    assert not Path(mine.folder).exists()


def test_what_is_new_or_not_ours_stays(tmp_path: Path) -> None:
    """One that has just been made may not be locked yet."""
    new, named = tmp_path / f"sandbox-{os.getpid()}-new", tmp_path / "sandbox-notes"
    new.mkdir()
    named.mkdir()
    (tmp_path / "sandbox-1-link").symlink_to(named)
    assert sweep(str(tmp_path)) == []
    assert new.is_dir()
    assert named.is_dir()


def test_a_link_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "_NEW", 0.0)
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    (tmp_path / "sandbox-1-link").symlink_to(kept)
    left = tmp_path / "sandbox-2-left"
    left.mkdir()
    (left / "link").symlink_to(kept)
    assert sweep(str(tmp_path)) == [str(left)]
    assert (kept / "file").read_text() == "x"
