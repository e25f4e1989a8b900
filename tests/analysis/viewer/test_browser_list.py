"""The list in Chromium: filter, order and groups, and only what is seen is drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from src.run.records import TrajectoryRecord
from tests.analysis.viewer import run_files as made
from tests.analysis.viewer.browser import Watched, single, watched

pytestmark = pytest.mark.browser


class TestList:
    def rows(self, shown: Watched) -> list[dict[str, str]]:
        return list(
            shown.page.evaluate(
                """() => {
                  const heads = [...document.querySelectorAll("#table th")];
                  const names = heads.map((one) => one.className.split(" ")[0].slice(2));
                  return [...document.querySelectorAll("#rows tr:not(.space, .group)")].map((row) =>
                    Object.fromEntries([...row.children].map((cell, at) => [names[at], cell.textContent])));
                }"""
            )
        )

    def filter(self, shown: Watched, query: str) -> str:
        """Write a filter; return what is said of it."""
        shown.page.fill("#filter", query)
        shown.page.wait_for_function("query => list.state.q === query", arg=query)
        shown.page.wait_for_timeout(100)
        return shown.page.locator("#count").inner_text() or shown.page.locator("#fault").inner_text()

    @pytest.mark.parametrize(
        ("query", "holds"),
        [
            ("correct=0", lambda one: not one.correct),
            ("correct=true step>=3", lambda one: one.correct and one.step >= 3),
            ('subject="Geometry"', lambda one: one.subject == "Geometry"),
            ("subject=null", lambda one: one.subject is None),
            ("subject!=null phase=train", lambda one: one.subject and one.phase == "train"),
            ("problem~P/1 sample<1", lambda one: one.problem_id == "p/1" and one.sample < 1),
            ("executions>2", lambda one: False),
            (
                "reward/correctness<=-1 stop_reason!=length",
                lambda one: not one.correct and one.stop_reason != "length",
            ),
            ("group = null", lambda one: one.group is None),
            ('"at 2 é"', lambda one: one.step == 2),
            ("AT boxed step!=2", lambda one: one.step != 2),
            ("token_columns=1 run=run", lambda one: one.phase == "train"),
            ("tokens>20 calls<2", lambda one: one.tokens("policy") > 20),
            ("advantage!=7 stop!=length", lambda one: one.stop_reason != "length"),
        ],
    )
    def test_a_filter_leaves_what_it_says(
        self, shown: Watched, written: list[TrajectoryRecord], query: str, holds: Any
    ) -> None:
        wanted = [one for one in written if holds(one)]
        assert self.filter(shown, query) == f"{len(wanted)} of {len(written)} trajectories"
        seen = [(row["phase"], row["step"], row["problem_id"], row["sample"]) for row in self.rows(shown)]
        assert (
            seen
            == [(one.phase, str(one.step), one.problem_id, str(one.sample)) for one in wanted][: len(seen)]
        )
        assert len(seen) == min(len(wanted), len(seen))

    @pytest.mark.parametrize(
        ("query", "message"),
        [
            ("colour=3", "There is no field colour. The fields are advantage, answer, "),
            ("constructor=3", "There is no field constructor. The fields are"),
            ("step=many", "step is a number, and many is none"),
            ("step~4", "step is a number: use = != < <= > >="),
            ("subject<4", "subject is a text: use = != or ~ (contains)"),
            ('subject="Geo', 'A quotation mark is not closed: "Geo'),
            ("step>", "There is no value after step>"),
            (">3", "There is no field before >3"),
            ("level<null", "null has no order: use = or !="),
        ],
    )
    def test_a_filter_that_is_not_understood_says_why(self, shown: Watched, query: str, message: str) -> None:
        assert self.filter(shown, query).startswith(message)
        assert shown.page.locator("#fault").get_attribute("role") == "alert"

    def test_sorting_by_a_heading(self, shown: Watched, written: list[TrajectoryRecord]) -> None:
        for field, value in {
            "policy_tokens": lambda one: one.tokens("policy"),
            "level": lambda one: one.level,
        }.items():
            for direction, sign in (("descending", -1), ("ascending", 1)):
                shown.drawing(lambda field=field: shown.page.click(f"#table th.f-{field} button"))
                heading = shown.page.locator(f"#table th.f-{field}")
                assert heading.get_attribute("aria-sort") == direction
                wanted = sorted(written, key=lambda one: sign * value(one))
                seen = self.rows(shown)
                assert [(one["step"], one["problem_id"]) for one in seen] == [
                    (str(one.step), one.problem_id) for one in wanted
                ][: len(seen)]
        shown.drawing(lambda: shown.page.click("#table th.f-advantage button"))
        assert self.rows(shown)[0]["advantage"] != "–", "what is unknown comes last"

    def test_groups_by_problem(self, shown: Watched, written: list[TrajectoryRecord]) -> None:
        shown.drawing(lambda: shown.page.check("#group"))
        heads = shown.page.locator("#rows tr.group")
        assert heads.count() == 4
        assert "4 problems" in shown.page.locator("#count").inner_text()
        own = [one for one in written if one.problem_id == "p/0"]
        accuracy = f"{sum(one.correct for one in own) / len(own):.3g}"
        assert f"p/0 {len(own)} trajectories, accuracy {accuracy}" in heads.first.inner_text()
        button = heads.first.locator("button")
        assert (button.get_attribute("aria-expanded"), self.rows(shown)) == ("false", [])
        button.click()
        assert {row["problem_id"] for row in self.rows(shown)} == {"p/0"}

    def test_only_rows_that_are_seen_are_drawn(self, browser: Browser, tmp_path: Path) -> None:
        base = made.record()
        address = single(
            tmp_path, [replace(base, sample=at, answer=str(at)) for at in range(3000)], tokens=False
        )
        with watched(browser, address) as shown:
            took = shown.open(address)
            print(f"\nopened with 3,000 trajectories in {took:.2f} s")
            assert took < 60
            assert len(self.rows(shown)) < 100
            assert shown.page.locator("#table").get_attribute("aria-rowcount") == "3001"
            shown.page.evaluate("document.getElementById('scroller').scrollTop = 1e9")
            shown.page.wait_for_function("() => document.querySelector('#rows').textContent.includes('2999')")
            assert len(self.rows(shown)) < 100
            self.filter(shown, "answer=2998 boxed")
            milliseconds = float(shown.page.locator("#count").get_attribute("data-ms") or "nan")
            print(f"filtered in {milliseconds} ms")
            assert milliseconds < 20_000
            assert [row["answer"] for row in self.rows(shown)] == ["2998"]
