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
    parser.addoption("--ray", action="store_true", help="run the tests that start a Ray cluster, too")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "docker: needs a Docker daemon; run when --jails names docker")
    config.addinivalue_line("markers", "ray: starts a Ray cluster; run with --ray")
