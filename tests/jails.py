"""Which jails there are here, and tests that run in one of them."""

from __future__ import annotations

from typing import Any

import pytest

JAILS = ("bubblewrap", "sandlock")  # what sandbox=auto tries; docker is asked for
_BROKEN = pytest.StashKey[dict[str, str]]()


def in_jail(jail: str, *more: Any) -> Any:
    """Parameters of a test that runs in ``jail``: reported as not run where that does not work."""
    return pytest.param(jail, *more, marks=() if jail == "unconfined" else getattr(pytest.mark, jail))


def asked_jails(config: pytest.Config) -> list[str]:
    """The jails that the sandbox is attacked in."""
    if named := config.getoption("--jails"):
        return list(named.split(","))
    return list(JAILS if "bubblewrap" in broken_jails(config) else JAILS[:1])


def broken_jails(config: pytest.Config) -> dict[str, str]:
    """Why each of JAILS that does not work here does not; tried once, by the process that began the tests."""
    if _BROKEN not in config.stash:
        if hasattr(config, "workerinput"):  # of pytest-xdist
            config.stash[_BROKEN] = config.workerinput["broken_jails"]
        else:
            config.stash[_BROKEN] = {jail: why for jail in JAILS if (why := _fault(jail))}
    return config.stash[_BROKEN]


def _fault(jail: str) -> str | None:
    from src.config import SandboxConfig
    from src.sandbox import SandboxError, build_sandbox

    try:
        with build_sandbox(SandboxConfig(jail=jail, workers=1, warm=[])) as sandbox:
            result = sandbox.run("print(1)")
    except SandboxError as error:
        return " ".join(str(error).split()).removeprefix(f"{jail}: ")
    return None if result.stdout == "1\n" else f"print(1) gives {result}"
