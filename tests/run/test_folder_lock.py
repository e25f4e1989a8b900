"""A run's folder is of one process: two real ones, and whatever ends the first."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from src.config.paths import ROOT
from src.config.schema import ConfigError
from src.run import folder_lock
from tests.shop import Shop, one_message


def staying(shop: Shop) -> subprocess.Popen[str]:
    """Start a program that holds ``run`` and has children, and wait until it does."""
    process = shop.start("model.path=model", "trainer.seed=8", "hydra.run.dir=run", program="alone")
    assert process.stdout is not None
    process.stdout.readline()
    assert process.stdout.readline() == "staying\n", process.communicate()
    return process


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_the_second_of_two_processes_ends_with_one_line_and_kill_frees_the_folder(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    first = staying(shop)
    left = children(first.pid)
    try:
        assert len(left) == 2
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
        second = shop.run("model.path=model", "hydra.run.dir=run", program="alone")
        assert one_message(second) == (
            f"configuration error: hydra.run.dir=run: process {first.pid} on {socket.gethostname()} is using "
            "it; wait for it, end it, or choose another folder\n"
        )
        assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert all(Path(f"/proc/{pid}").exists() for pid in left), "they do not hold the lock"
        third = shop.run("model.path=model", "hydra.run.dir=run", program="alone")
        assert third.code == 0, third.error
    finally:
        first.kill()
        for pid in left:
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("src.train", ["+experiment=mini_debug", "tracking=none"]),
        ("src.evaluate", ["benchmark=mini", "engine=transformers", "model.path=experiments/mini_base"]),
        ("src.merge", ["folders=[a,b]"]),
        ("src.warm_start", []),
    ],
)
def test_each_program_that_writes_results_refuses_a_folder_at_work(
    program: str, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(tmp_path)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    folder_lock.take(tmp_path / "run")
    try:
        message = one_message(shop.run(*arguments, "hydra.run.dir=run", program=program))
    finally:
        folder_lock.release(tmp_path / "run")
    assert f"hydra.run.dir=run: process {os.getpid()} on {socket.gethostname()} is using it" in message


def test_a_warm_start_refuses_an_output_at_work(tmp_path: Path) -> None:
    folder_lock.take(tmp_path / "policy")
    try:
        ended = Shop(tmp_path).run("output=policy", program="src.warm_start")
    finally:
        folder_lock.release(tmp_path / "policy")
    assert f"output=policy: process {os.getpid()} on" in one_message(ended)


def test_released_it_leaves_no_file_and_can_be_taken_again(tmp_path: Path) -> None:
    for _ in range(2):
        folder_lock.take(tmp_path / "run")
        folder_lock.take(tmp_path / "run")  # this process has it already
        assert json.loads((tmp_path / "run" / "lock").read_text())["pid"] == os.getpid()
        folder_lock.release(tmp_path / "run")
        assert list((tmp_path / "run").iterdir()) == []
    folder_lock.release(tmp_path / "run")


def test_a_file_system_without_locks_is_said_and_does_not_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def flock(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    folder_lock.take(tmp_path)
    assert "is on a file system without locks" in capsys.readouterr().err


def test_a_lock_whose_holder_has_not_said_who_it_is(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another process is using it"):
            folder_lock.take(tmp_path)
