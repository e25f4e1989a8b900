"""The served page in Chromium, while its run is being written."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Route

from analysis.viewer import served
from tests.analysis.viewer import run_files as made
from tests.analysis.viewer.browser import Watched, place, tooltips, watched
from tests.analysis.viewer.reading import loaded

pytestmark = pytest.mark.browser


@contextmanager
def serving(
    browser: Browser, folder: Path, before: Callable[[Watched], None] | None = None
) -> Iterator[Watched]:
    """Serve a run; yield its open page."""
    with served.server([loaded(folder, "run")], "127.0.0.1", 0, every=0.3) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        try:
            with watched(browser, address) as shown:
                if before is not None:
                    before(shown)
                shown.open(address)
                yield shown
        finally:
            server.shutdown()
            thread.join()


def wait_for_count(shown: Watched, text: str) -> None:
    shown.page.wait_for_function("text => document.getElementById('count').textContent === text", arg=text)


class TestServed:
    def test_a_run_that_grows(self, browser: Browser, tmp_path: Path) -> None:
        written = made.write(tmp_path, steps=6)
        with serving(browser, tmp_path) as shown:
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
            assert shown.originals(".segment:not(.prompt) .text") == [one.text for one in later.segments]
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

    def test_what_is_new_before_the_first_look(self, browser: Browser, tmp_path: Path) -> None:
        written = made.write(tmp_path)

        def late(route: Route) -> None:
            answer = route.fetch()
            if len(loaded(tmp_path).rows) == len(written):
                made.write_records(tmp_path, [made.record("later", step=5)])
                time.sleep(0.5)  # longer than between two looks
            route.fulfill(response=answer)

        with serving(browser, tmp_path, lambda shown: shown.page.route("**/index", late)) as shown:
            wait_for_count(shown, f"{len(written) + 1} of {len(written) + 1} trajectories")

    def test_tokens_that_come_after_a_neighbour_was_opened(self, browser: Browser, tmp_path: Path) -> None:
        """In one chunk, which is not the last."""
        written = [made.record(step=at // 40, sample=at % 40) for at in range(80)]
        made.write_records(tmp_path, written)
        made.write_tokens(tmp_path, [made.row(one) for one in written[:40]])
        with serving(browser, tmp_path) as shown:
            shown.go(place(written[0]))
            assert shown.page.locator(".flow .t[data-i]").count() > 20
            made.write_tokens(tmp_path, [made.row(one) for one in written[40:]])
            shown.page.wait_for_function("() => store.runs[0].columns.token_columns[50] === 1")
            shown.go(place(written[50]))
            assert shown.page.locator(".flow .t[data-i]").count() > 20

    def test_faults_of_the_filter_and_of_the_server_stand_beside_each_other(
        self, browser: Browser, tmp_path: Path
    ) -> None:
        made.write(tmp_path, steps=1)
        with serving(browser, tmp_path) as shown:
            shown.page.fill("#filter", "step=many")
            shown.page.wait_for_function("() => document.getElementById('fault').textContent !== ''")
            shown.page.wait_for_timeout(1000)  # several looks at the server
            assert "many is none" in shown.page.locator("#fault").inner_text()
            assert not shown.page.locator("#server").is_visible()
            (tmp_path / "trajectories.jsonl").rename(tmp_path / "away")
            shown.page.wait_for_function(
                "() => document.getElementById('server').textContent.startsWith('The server does not answer')"
            )
            assert "many is none" in shown.page.locator("#fault").inner_text()
            (tmp_path / "away").rename(tmp_path / "trajectories.jsonl")
            shown.page.wait_for_function("() => document.getElementById('server').textContent === ''")
            shown.faults.clear()  # the browser says that an answer was an error
