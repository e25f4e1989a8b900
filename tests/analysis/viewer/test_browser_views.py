"""Addresses in Chromium, and the views of a problem, a step and a run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser

from analysis.viewer import page
from src.run.records import TrajectoryRecord
from tests.analysis.viewer import run_files as made
from tests.analysis.viewer.browser import Watched, place, watched
from tests.analysis.viewer.reading import loaded

pytestmark = pytest.mark.browser


class TestViews:
    def head(self, shown: Watched) -> str:
        """Return what a view begins with, but for the place in the list, which depends on its filter."""
        return re.sub(r"\d+ of \d+ in the list", "", shown.page.locator("#main").inner_text()[:300])

    def test_permalinks_and_the_back_button(self, shown: Watched, written: list[TrajectoryRecord]) -> None:
        places = [
            "#/?q=correct%3D0&sort=-step",
            place(written[12]),
            "#/p/p%2F2",
            "#/s/run/train/3",
            "#/r/run",
        ]
        heads = []
        for one in places:
            shown.go(one)
            heads.append(self.head(shown))
        assert len(set(heads)) == len(places)
        for at in range(len(places) - 2, -1, -1):
            shown.drawing(shown.page.go_back)
            assert shown.page.evaluate("location.hash") == places[at]
            assert self.head(shown) == heads[at]
        assert shown.page.input_value("#filter") == "correct=0"
        address = shown.page.url.partition("#")[0]
        for one, head in zip(places, heads, strict=True):
            shown.page.goto("about:blank")
            shown.faults.clear()
            shown.open(address + one)
            assert self.head(shown) == head

    @pytest.mark.parametrize(
        "there",
        ["#/t/run/train/99/free/p/0", "#/t/none/a", "#/p/none", "#/s/run/train/99", "#/r/x", "#/t/%ff"],
    )
    def test_an_address_of_nothing_says_so(self, shown: Watched, there: str) -> None:
        shown.go(there)
        assert shown.page.locator("h1").inner_text() == "Not found"

    def test_a_problem_marks_where_two_part(self, shown: Watched, written: list[TrajectoryRecord]) -> None:
        own = [one for one in written if one.problem_id == "p/1" and one.phase == "train" and one.sample == 0]
        first, second = own[0], own[3]
        ids = [made.ids_of(one)[0][one.prompt_tokens :] for one in (first, second)]
        parting = next(at for at, (a, b) in enumerate(zip(*ids, strict=False)) if a != b)
        shown.go(f"#/p/p%2F1?a={quote(place(first), safe='')}&b={quote(place(second), safe='')}")
        shown.page.wait_for_selector("#parting")
        assert (
            f"They part at token {parting + 1} after the prompt"
            in shown.page.locator("#parting").inner_text()
        )
        after = shown.page.eval_on_selector_all(
            ".part", "all => all.map((one) => Number(one.nextSibling.dataset.i))"
        )
        assert after == [first.prompt_tokens + parting, second.prompt_tokens + parting]
        options = shown.page.locator("#side-0 option")
        assert options.count() == len([one for one in written if one.problem_id == "p/1"])
        shown.page.select_option(
            "#side-1", str(shown.page.evaluate("document.getElementById('side-0').value"))
        )
        shown.page.wait_for_function(
            "document.querySelector('#parting').textContent === 'They are the same.'"
        )
        assert shown.page.locator(".chart .axis").count() > 2
        label = shown.page.locator(".chart > svg").first.get_attribute("aria-label") or ""
        last = [one for one in written if one.problem_id == "p/1" and one.phase == "train" and one.step == 5]
        assert f"training, free {sum(one.correct for one in last) / 2:.3g}" in label

    def test_a_step(self, shown: Watched, written: list[TrajectoryRecord]) -> None:
        own = [one for one in written if one.phase == "train" and one.step == 2]
        shown.go("#/s/run/train/2")
        groups = [[one.rewards for one in own if one.group == number] for number in range(4)]
        equal = sum(a == b for a, b in groups)
        assert f"{equal} of 4 groups have equal rewards" in shown.page.locator("#main").inner_text()
        bars = shown.page.locator(".chart svg").first.get_attribute("aria-label") or ""
        assert sum(map(int, re.findall(r"(\d+) at ", bars))) == len(own)
        links = shown.page.locator("table:has(caption) tbody a")
        assert links.count() == 10
        pairs = []
        for one in own:
            row = made.row(one)
            pairs += [(row["logprob"][at], one, at) for at, counts in enumerate(row["mask"]) if counts]
        _, one, at = min(pairs, key=lambda pair: pair[0])
        shown.drawing(links.first.click)
        assert shown.page.evaluate("location.hash") == f"{place(one)}?c=logprob&t={at}"
        assert shown.page.evaluate("document.activeElement.dataset.i") == str(at)

    def test_a_run(self, shown: Watched) -> None:
        shown.go("#/r/run")
        labels = shown.page.eval_on_selector_all(
            ".chart > svg", "all => all.map((one) => one.getAttribute('aria-label'))"
        )
        assert labels == ["reward over step; at the end: run 0.5", "accuracy over step; at the end: run 0.25"]
        text = shown.page.locator("#main").evaluate("one => one.textContent")
        assert "trainer.steps6" in text
        assert "first\\u202eprompt" in text, "a mark that reorders text is shown as an escape"
        assert shown.page.locator(".steps a").count() == 8

    def test_several_runs(self, browser: Browser, tmp_path: Path) -> None:
        runs = []
        for seed, name in enumerate(("a/1", "b?#2")):
            made.write(tmp_path / str(seed), steps=3, seed=seed)
            runs.append(loaded(tmp_path / str(seed), name))
        page.write(tmp_path / "view.html", runs)
        address = (tmp_path / "view.html").as_uri()
        with watched(browser, address) as shown:
            shown.open(address + '#/?q=run%3D"b%3F%232"')
            assert shown.page.locator("#count").inner_text() == "24 of 48 trajectories"
            shown.go("#/p/p%2F0")
            shown.page.wait_for_selector("#parting")
            assert len(shown.page.locator(".chart .legend li").all()) == 4
            shown.go("#/r/b%3F%232")
            assert shown.page.locator("h1").inner_text() == "b?#2"
            assert "a/1 0.2, b?#2 0.2" in (
                shown.page.locator(".chart > svg").first.get_attribute("aria-label") or ""
            )

    def contrasts(self, shown: Watched) -> list[str]:
        """Return the colours of tokens whose letters are hard to read: a contrast below 4.5."""
        return list(
            shown.page.evaluate(
                """() => {
                  const light = (colour) => {
                    const parts = colour.match(/[0-9.]+/g).map((part) => Number(part) / 255);
                    const power = (part) => ((part + 0.055) / 1.055) ** 2.4;
                    const linear = (part) => (part <= 0.03928 ? part / 12.92 : power(part));
                    const [red, green, blue] = parts.map(linear);
                    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
                  };
                  const found = [];
                  for (const name of Object.keys(colours.scales)) {
                    const select = document.getElementById("colour");
                    select.value = name;
                    select.dispatchEvent(new Event("change"));
                    for (const one of document.querySelectorAll(".chooser .legend .t")) {
                      const style = getComputedStyle(one);
                      const clear = style.backgroundColor === "rgba(0, 0, 0, 0)";
                      const ground = clear ? getComputedStyle(document.body) : style;
                      const [a, b] = [light(style.color), light(ground.backgroundColor)];
                      const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
                      if (ratio < 4.5) found.push(`${name} ${one.className}: ${ratio.toFixed(2)}`);
                    }
                  }
                  return found;
                }"""
            )
        )

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_readable_on_a_phone(
        self, browser: Browser, records: tuple[Path, list[TrajectoryRecord]], scheme: Any
    ) -> None:
        address = (records[0] / "view.html").as_uri()
        phone = {"viewport": {"width": 390, "height": 800}, "color_scheme": scheme}
        with watched(browser, address, **phone) as shown:
            shown.open(address)
            assert shown.page.evaluate("document.documentElement.dataset.theme") == scheme
            for there in ("#/", place(records[1][12]), "#/p/p%2F2", "#/s/run/train/3", "#/r/run"):
                shown.go(there)
                wide = shown.page.evaluate(
                    "() => ['html', 'main'].map((name) => document.querySelector(name).scrollWidth)"
                )
                assert max(wide) <= 390, there
            shown.go(place(records[1][12]))
            assert self.contrasts(shown) == []
            colour = shown.page.evaluate("getComputedStyle(document.body).backgroundColor")
            shown.page.click("#theme")
            assert shown.page.evaluate("getComputedStyle(document.body).backgroundColor") != colour
