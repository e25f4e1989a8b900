"""A model that is not there is made by its warm start, once, before anything is checked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from src.config.schema import ConfigError
from src.launch import made_first
from src.launch.made_first import make_missing


class Programs:
    """Stands for the programs that are started; the last writes the model."""

    def __init__(self, codes: list[int], folder: Path) -> None:
        self.started: list[list[str]] = []
        self._codes, self._folder = codes, folder

    def __call__(self, command: list[str], check: bool) -> Any:
        assert command[:2] == [sys.executable, "-m"]
        self.started.append(command[2:])
        code = self._codes[len(self.started) - 1]
        if command[2] == "src.warm_start" and not code:
            self._folder.mkdir()
            (self._folder / "config.json").write_text("{}")
        return SimpleNamespace(returncode=code)


def config(folder: Path, name: str | None = "smollm2") -> DictConfig:
    return OmegaConf.create({"model": {"path": str(folder), "warm_start": name}})


def test_it_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "start"
    programs = Programs([0, 0], folder)
    monkeypatch.setattr(subprocess, "run", programs)
    make_missing(config(folder))
    assert programs.started == [
        ["src.smollm2"],
        ["src.warm_start", "+warm_start=smollm2", f"output={folder}"],
    ]
    make_missing(config(folder))
    assert len(programs.started) == 2, "it is there"


@pytest.mark.parametrize("cfg", [{"model": {"path": "/nowhere", "warm_start": None}}, {"model": {}}, {}])
def test_other_models_are_not_made(cfg: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", Programs([], Path("/nowhere")))
    make_missing(OmegaConf.create(cfg))


@pytest.mark.parametrize(("codes", "program"), [([1], "src.smollm2"), ([0, 130], "src.warm_start")])
def test_a_failure_ends_the_run(
    codes: list[int], program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", Programs(codes, tmp_path / "start"))
    with pytest.raises(ConfigError, match=rf"{program}.* ended with exit code {codes[-1]}"):
        make_missing(config(tmp_path / "start"))


def test_faults_name_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ConfigError, match="warm_start=other: no such file in conf/warm_start; choose one of smollm2"
    ):
        make_missing(config(tmp_path / "start", "other"))
    monkeypatch.setattr(made_first, "world_size", lambda: 2)
    with pytest.raises(ConfigError, match="make it first with python"):
        make_missing(config(tmp_path / "start"))
