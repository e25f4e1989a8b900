"""Options of the tests, and what is not run where a jail does not work."""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import Any

import pytest
from hypothesis import settings

from tests.jails import JAILS, broken_jails

# Before torch is imported: models here are so small that a second thread costs more than it brings.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# In the background a shell ignores Ctrl-C, and what tests start and interrupt would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_NOT_RUN = pytest.StashKey[Counter[str]]()


settings.register_profile("project", deadline=None)  # nothing depends on how fast the machine is
settings.load_profile("project")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--jails",
        help="in which jails the sandbox is attacked: bubblewrap, sandlock, docker, separated by commas; a "
        "jail that is named here must work, or its tests fail; without it, in bubblewrap, or in sandlock "
        "where bubblewrap does not work",
    )
    parser.addoption(
        "--require-jails", action="store_true", help="fail at once where bubblewrap or sandlock does not work"
    )
    parser.addoption("--ray", action="store_true", help="run the tests that start a Ray cluster, too")
    parser.addoption("--browser", action="store_true", help="run the tests that drive Chromium, too")
    parser.addoption("--long", action="store_true", help="run the long tests, too")
    parser.addoption("--vllm", action="store_true", help="run the tests that need vLLM, too")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "bubblewrap: runs in this jail")
    config.addinivalue_line("markers", "sandlock: runs in this jail")
    config.addinivalue_line("markers", "docker: needs a Docker daemon; --jails must name it")
    config.addinivalue_line("markers", "ray: starts a Ray cluster; run with --ray")
    config.addinivalue_line("markers", "browser: drives Chromium; run with --browser")
    config.addinivalue_line("markers", "long: computes, waits or kills for long; run with --long")
    config.addinivalue_line("markers", "vllm: needs vLLM (make setup-vllm); run with --vllm")
    config.stash[_NOT_RUN] = Counter()
    if config.getoption("--require-jails") and broken_jails(config):
        raise pytest.UsageError(
            "--require-jails: "
            + "; ".join(f"{jail} does not work: {why}" for jail, why in broken_jails(config).items())
        )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What was not asked for is deselected; what was asked for fails where it cannot be run.

    What nobody asked for by name, and needs a jail that does not work, is deselected and reported.
    """
    named = (config.getoption("--jails") or "").split(",")
    asked = {
        "docker": "docker" in named,
        "ray": config.getoption("--ray"),
        "browser": config.getoption("--browser"),
        "vllm": config.getoption("--vllm"),
        "long": config.getoption("--long"),
    }
    unasked = [name for name, wanted in asked.items() if not wanted]
    away = [item for item in items if any(item.get_closest_marker(name) for name in unasked)]
    kept = [item for item in items if item not in set(away)]
    needed = [jail for jail in JAILS if jail not in named and any(map(_needs(jail), kept))]
    for jail in needed:
        if jail in broken_jails(config):
            cannot = list(filter(_needs(jail), kept))
            config.stash[_NOT_RUN][jail] = len(cannot)
            away += cannot
    if away:
        config.hook.pytest_deselected(items=away)
        gone = set(away)
        items[:] = [item for item in items if item not in gone]


def _needs(jail: str) -> Any:
    return lambda item: item.get_closest_marker(jail) is not None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist, so that all of them collect the same tests."""
    node.workerinput["broken_jails"] = broken_jails(node.config)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear from a worker what it could not run: each has collected every test."""
    node.config.stash[_NOT_RUN] |= Counter(getattr(node, "workeroutput", {}).get("not_run", {}))


def pytest_sessionfinish(session: pytest.Session) -> None:
    not_run = session.config.stash[_NOT_RUN]
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["not_run"] = dict(not_run)
    elif not_run and len(broken_jails(session.config)) == len(JAILS):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    not_run = config.stash[_NOT_RUN]
    for jail, number in not_run.items():
        line = f"NOT RUN: {number} tests in {jail}: {broken_jails(config)[jail]}"
        terminalreporter.write_line(line, red=True, bold=True)
    if not_run and len(broken_jails(config)) == len(JAILS):
        terminalreporter.write_line("ERROR: no jail works here, so the sandbox was not tested", red=True)
