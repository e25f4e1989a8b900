"""A model that is not there is made by its warm start, once, before anything is checked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from src.config.paths import ROOT
from src.config.schema import ConfigError
from src.launch import made_first
from src.launch.made_first import make_missing, warm_start_of

PATH = "models/smollm2_135m_start"
WARM_START = ["src.warm_start", "+warm_start=smollm2", f"output={PATH}"]


class Programs:
    """Stands for the programs that are started, with their exit codes; the warm start writes the model."""

    def __init__(self, codes: list[int]) -> None:
        self.started: list[list[str]] = []
        self._codes = codes

    def __call__(self, command: list[str], check: bool) -> Any:
        assert command[:2] == [sys.executable, "-m"]
        self.started.append(command[2:])
        code = self._codes[len(self.started) - 1]
        if command[2] == "src.warm_start" and not code:
            Path(PATH).mkdir(parents=True)
            (Path(PATH) / "config.json").write_text("{}")
        return SimpleNamespace(returncode=code)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def config(path: str = PATH, **others: Any) -> DictConfig:
    return OmegaConf.create({"model": {"path": path}, **others})


def test_it_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = Programs([0, 0])
    monkeypatch.setattr(subprocess, "run", programs)
    make_missing(config())
    assert programs.started == [["src.smollm2"], WARM_START]
    make_missing(config())
    assert len(programs.started) == 2, "it is there"


@pytest.mark.parametrize("cfg", [config("Qwen/Qwen2.5-0.5B"), config("models/other"), OmegaConf.create({})])
def test_other_models_are_not_made(cfg: DictConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", Programs([]))
    make_missing(cfg)


def test_a_warm_start_from_another_model_makes_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text("defaults: [{override /model: qwen3_8b}]\noutput: models/mine\n")
    monkeypatch.setattr(made_first, "_OPTIONS", tmp_path)
    programs = Programs([0])
    monkeypatch.setattr(subprocess, "run", programs)
    make_missing(config("models/mine"))
    assert programs.started == [["src.warm_start", "+warm_start=mine", "output=models/mine"]]


def test_paths_are_compared_however_they_are_written() -> None:
    for path in (PATH, f"./{PATH}/", str(ROOT / PATH)):
        option = warm_start_of(path)
        assert option is not None, path
        assert option.stem == "smollm2"


@pytest.mark.parametrize(("codes", "program"), [([1], "src.smollm2"), ([0, 130], "src.warm_start")])
def test_a_failure_ends_the_run(codes: list[int], program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", Programs(codes))
    with pytest.raises(ConfigError, match=rf"{program}.* ended with exit code {codes[-1]}"):
        make_missing(config())


@pytest.mark.parametrize(("others", "world"), [({"estimate": True}, 1), ({}, 2)])
def test_where_nothing_is_made_the_command_is_named(
    others: dict[str, Any], world: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", Programs([]))
    monkeypatch.setattr(made_first, "world_size", lambda: world)
    with pytest.raises(ConfigError, match=r"make it first with .* \+warm_start=smollm2"):
        make_missing(config(**others))
