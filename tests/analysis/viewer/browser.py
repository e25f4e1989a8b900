"""Opens pages of the viewer in Chromium, and watches for what they must not do."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playwright.sync_api import Browser, Page, Playwright

from analysis.viewer import page
from src.run.records import TrajectoryRecord
from tests.analysis.viewer import run_files as made
from tests.analysis.viewer.reading import loaded

# Joins what is shown of an element with what hidden characters were.
ORIGINAL = """element => {
  const of = (node) => node.nodeType === Node.TEXT_NODE ? node.data
    : node.dataset && node.dataset.original !== undefined ? node.dataset.original
    : node.classList && node.classList.contains("more") ? ""
    : [...node.childNodes].map(of).join("");
  return of(element);
}"""


def launch(playwright: Playwright) -> Browser:
    """Start Chromium. Raises RuntimeError if there is none on PATH."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        raise RuntimeError("no chromium on PATH; the browser tests drive it (apt-get install chromium)")
    return playwright.chromium.launch(
        executable_path=path, args=["--no-sandbox"] if os.geteuid() == 0 else []
    )


class Watched:
    """A page, and what happened in it that should not have: errors, dialogs, requests elsewhere.

    Args:
        page: not yet at any address.
        own: what the addresses that it may ask begin with.
    """

    def __init__(self, page: Page, own: str) -> None:
        self.page, self.faults = page, list[str]()
        page.set_default_timeout(60_000)
        page.on("console", lambda one: self._fault(one.type in ("error", "warning"), f"console: {one.text}"))
        page.on("pageerror", lambda error: self._fault(True, f"error: {error}"))
        page.on(
            "request", lambda one: self._fault(not one.url.startswith((own, "data:")), f"asked {one.url}")
        )
        page.on("popup", lambda one: self._fault(True, f"opened {one.url}"))
        page.on("dialog", self._dialog)

    def _fault(self, is_one: bool, what: str) -> None:
        if is_one:
            self.faults.append(what)

    def _dialog(self, dialog: Any) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def open(self, address: str) -> float:
        """Open an address; return the seconds until the view was drawn."""
        began = time.perf_counter()
        self.page.goto(address)
        self.page.wait_for_selector("html[data-ready]", state="attached")
        return time.perf_counter() - began

    def go(self, place: str) -> None:
        """Go to another view of the page and wait until it is drawn."""
        self.drawing(lambda: self.page.evaluate("place => { location.hash = place; }", place))
        # another view may have been on its way
        self.page.wait_for_function("() => document.documentElement.dataset.place === location.hash")

    def drawing(self, action: Any) -> None:
        """Do what changes the view, and wait until the next one is drawn."""
        before = self.page.evaluate("document.documentElement.dataset.drawn")
        action()
        self.page.wait_for_function("before => document.documentElement.dataset.drawn !== before", arg=before)

    def press(self, key: str) -> None:
        """Press a key that changes the view."""
        self.drawing(lambda: self.page.keyboard.press(key))

    def original(self, selector: str) -> str:
        """Return the text of an element with hidden characters as they were."""
        return str(self.page.eval_on_selector(selector, ORIGINAL))

    def originals(self, selector: str) -> list[str]:
        """Return those of all elements."""
        return list(self.page.eval_on_selector_all(selector, f"all => all.map({ORIGINAL})"))


@contextmanager
def watched(browser: Browser, own: str, **context: Any) -> Iterator[Watched]:
    """Yield a new page; afterwards nothing may have happened in it that should not."""
    with browser.new_context(**({"viewport": {"width": 1280, "height": 800}} | context)) as opened:
        found = Watched(opened.new_page(), own)
        yield found
        assert found.faults == []


def place(one: TrajectoryRecord, run: str = "run") -> str:
    """Return the permalink of a trajectory."""
    parts = [run, one.phase, one.step, one.mode, one.problem_id, one.sample]
    return "#/t/" + "/".join(quote(str(part), safe="") for part in parts)


def single(
    folder: Path,
    records: Sequence[TrajectoryRecord],
    rows: Sequence[dict[str, Any]] | None = None,
    *,
    tokens: bool = True,
    name: str = "run",
) -> str:
    """Write a run and its page, with token columns of the records or these ``rows``; return the address."""
    made.write_records(folder, records)
    if tokens:
        made.write_tokens(folder, [made.row(one) for one in records] if rows is None else rows)
    page.write(folder / "view.html", [loaded(folder, name)])
    return (folder / "view.html").as_uri()


def tooltips(shown: Watched) -> list[dict[str, str]]:
    """Return what the page says of each token, in order."""
    return list(
        shown.page.evaluate(
            """() => [...document.querySelectorAll(".flow .t[data-i]")].map((token) => {
              token.dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
              const pairs = [...document.querySelectorAll("#tip .facts > div")];
              return Object.fromEntries(pairs.map((one) => [...one.children].map((it) => it.textContent)));
            })"""
        )
    )
