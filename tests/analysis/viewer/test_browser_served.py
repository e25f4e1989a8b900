"""The served page in Chromium, while its run is being written."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from analysis.viewer import served
from tests.analysis.viewer import run_files as made
from tests.analysis.viewer.browser import place, tooltips, watched
from tests.analysis.viewer.reading import loaded

pytestmark = pytest.mark.browser


class TestServed:
    def test_a_run_that_grows(self, browser: Browser, tmp_path: Path) -> None:
        written = made.write(tmp_path, steps=6)
        run = loaded(tmp_path, "run")
        with served.server([run], "127.0.0.1", 0, every=0.3) as serving:
            thread = threading.Thread(target=serving.serve_forever, args=(0.05,))
            thread.start()
            address = f"http://127.0.0.1:{serving.server_address[1]}/"
            try:
                with watched(browser, address) as shown:
                    shown.open(address)
                    count = shown.page.locator("#count")
                    assert count.inner_text() == f"{len(written)} of {len(written)} trajectories"
                    shown.page.evaluate("document.getElementById('scroller').scrollTop = 60")
                    later = made.record("later", step=7, policy="from afar")
                    made.write_records(tmp_path, [later])
                    made.write_tokens(tmp_path, [made.row(later)])
                    total = len(written) + 1
                    shown.page.wait_for_function(
                        "text => document.getElementById('count').textContent === text",
                        arg=f"{total} of {total} trajectories",
                    )
                    assert shown.page.evaluate("document.getElementById('scroller').scrollTop") == 60
                    shown.page.fill("#filter", "AFAR")
                    shown.page.wait_for_function(
                        "text => document.getElementById('count').textContent === text",
                        arg=f"1 of {total} trajectories",
                    )
                    shown.go(place(later))
                    assert shown.originals(".segment:not(.prompt) .text") == [
                        one.text for one in later.segments
                    ]
                    assert len(tooltips(shown)) == len(made.ids_of(later)[0])
                    for there in ("#/p/later", "#/s/run/train/7", "#/r/run"):
                        shown.go(there)
                        assert shown.page.locator("h1").inner_text() != "Not found"
                    again = made.record("again", step=3, attempt=1)
                    made.write_records(tmp_path, [again])
                    shown.go("#/")
                    shown.page.fill("#filter", "")
                    kept = sum(one.step < 3 or one.phase != "train" for one in written) + 1
                    shown.page.wait_for_function(
                        "text => document.getElementById('count').textContent === text",
                        arg=f"{kept} of {kept} trajectories",
                    )
                    shown.go(place(again))
                    assert shown.originals(".segment .text") == [one.text for one in again.segments]
            finally:
                serving.shutdown()
                thread.join()
