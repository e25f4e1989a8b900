"""A run, its page, and Chromium, which each file of tests opens once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from analysis.viewer import page
from src.run.records import TrajectoryRecord
from tests.analysis.viewer import run_files as made
from tests.analysis.viewer.browser import Watched, launch, watched
from tests.analysis.viewer.reading import loaded


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = launch(playwright)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[TrajectoryRecord]]:
    folder = tmp_path_factory.mktemp("viewer") / "run"
    written = made.write(folder, steps=6, problems=4, samples=2)
    page.write(folder / "view.html", [loaded(folder, "run")])
    return folder, written


@pytest.fixture
def shown(browser: Browser, records: tuple[Path, list[TrajectoryRecord]]) -> Iterator[Watched]:
    address = (records[0] / "view.html").as_uri()
    with watched(browser, address) as found:
        found.open(address)
        yield found


@pytest.fixture
def written(records: tuple[Path, list[TrajectoryRecord]]) -> list[TrajectoryRecord]:
    return records[1]
