"""Options of the tests."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--jails",
        default="bubblewrap,sandlock",
        help="in which jails the sandbox is attacked: bubblewrap, sandlock, docker, separated by commas; "
        "a jail that is named here must work, or its tests fail",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "docker: needs a Docker daemon; run when --jails names docker")
