"""Options of the tests."""

from __future__ import annotations

import os
import signal

import pytest

# Before torch is imported: models here are so small that a second thread costs more than it brings.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# In the background a shell ignores Ctrl-C, and what tests start and interrupt would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--jails",
        default="bubblewrap",
        help="in which jails the sandbox is attacked: bubblewrap, sandlock, docker, separated by commas; "
        "a jail that is named here must work, or its tests fail",
    )
    parser.addoption("--ray", action="store_true", help="run the tests that start a Ray cluster, too")
    parser.addoption("--long", action="store_true", help="run the tests that wait or kill for long, too")
    parser.addoption("--vllm", action="store_true", help="run the tests that need vLLM, too")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "bubblewrap: runs in this jail")
    config.addinivalue_line("markers", "sandlock: runs in this jail; --jails must name it")
    config.addinivalue_line("markers", "docker: needs a Docker daemon; --jails must name it")
    config.addinivalue_line("markers", "ray: starts a Ray cluster; run with --ray")
    config.addinivalue_line("markers", "long: takes half a minute or more; run with --long")
    config.addinivalue_line("markers", "vllm: needs vLLM (make setup-vllm); run with --vllm")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What was not asked for is deselected; what was asked for fails where it cannot be run."""
    asked = {
        "docker": "docker" in config.getoption("--jails").split(","),
        "ray": config.getoption("--ray"),
        "vllm": config.getoption("--vllm"),
        "long": config.getoption("--long"),
    }
    unasked = [name for name, wanted in asked.items() if not wanted]
    away = [item for item in items if any(item.get_closest_marker(name) for name in unasked)]
    if away:
        config.hook.pytest_deselected(items=away)
        items[:] = [item for item in items if item not in away]
