"""The viewer's keys in Chromium."""

from __future__ import annotations

import pytest

from src.run.records import TrajectoryRecord
from tests.analysis.viewer.browser import Watched, place

pytestmark = pytest.mark.browser


class TestKeys:
    def test_j_k_enter_and_escape(self, shown: Watched, written: list[TrajectoryRecord]) -> None:
        keyboard = shown.page.keyboard
        for _ in range(3):
            keyboard.press("j")
        keyboard.press("k")
        assert shown.page.locator("tr.current").get_attribute("aria-rowindex") == "3"
        shown.press("Enter")
        assert shown.page.evaluate("location.hash") == place(written[1])
        shown.press("j")
        assert shown.page.evaluate("location.hash") == place(written[2])
        shown.press("k")
        shown.press("k")
        assert shown.page.evaluate("location.hash") == place(written[0])
        keyboard.press("k")  # there is none before the first
        assert shown.page.evaluate("location.hash") == place(written[0])
        shown.press("Escape")
        assert shown.page.locator("tr.current").get_attribute("aria-rowindex") == "2"

    def test_j_follows_filter_and_order(self, shown: Watched, written: list[TrajectoryRecord]) -> None:
        wanted = sorted((one for one in written if not one.correct), key=lambda one: -one.tokens("policy"))
        shown.go("#/?q=correct%3D0&sort=-policy_tokens")
        shown.page.keyboard.press("j")
        shown.press("Enter")
        for one in wanted[:5]:
            assert shown.page.evaluate("location.hash") == place(one)
            shown.press("j")

    def test_n_and_p_go_to_other_steps_of_the_problem(
        self, shown: Watched, written: list[TrajectoryRecord]
    ) -> None:
        own = [one for one in written if one.problem_id == "p/2" and one.sample == 0]
        assert [one.phase for one in own] == ["before", *["train"] * 6, "after"]
        shown.go(place(own[0]))
        for one in own[1:]:
            shown.press("n")
            assert shown.page.evaluate("location.hash") == place(one)
        shown.page.keyboard.press("n")
        assert shown.page.locator("#said").inner_text() == "This is the last step of this problem."
        for one in reversed(own[:-1]):
            shown.press("p")
            assert shown.page.evaluate("location.hash") == place(one)

    def test_slash_question_mark_and_escape(self, shown: Watched) -> None:
        shown.page.keyboard.press("/")
        assert shown.page.evaluate("document.activeElement.id") == "filter"
        shown.page.keyboard.type("jk?np")  # letters, no commands
        assert shown.page.input_value("#filter") == "jk?np"
        assert not shown.page.locator("#help").is_visible()
        shown.page.keyboard.press("Escape")
        assert shown.page.evaluate("document.activeElement.id") == "scroller"
        shown.page.keyboard.press("?")
        assert shown.page.locator("#help").is_visible()
        assert "stop_reason" in shown.page.locator("#help").inner_text()
        shown.page.keyboard.press("Escape")
        assert not shown.page.locator("#help").is_visible()

    def test_a_filter_just_written_does_not_lead_back(
        self, shown: Watched, written: list[TrajectoryRecord]
    ) -> None:
        shown.page.fill("#filter", "correct=1")
        shown.go(place(written[10]))
        shown.page.wait_for_timeout(400)  # longer than the filter waits for the next letter
        assert shown.page.evaluate("location.hash") == place(written[10])

    def test_arrows_go_from_token_to_token(self, shown: Watched, written: list[TrajectoryRecord]) -> None:
        shown.go(place(written[10]))
        assert shown.page.locator(".flow .t[tabindex='0']").count() == 1, "one stop for the tab key"
        shown.page.locator(".flow .t[tabindex='0']").focus()
        for _ in range(5):
            shown.page.keyboard.press("ArrowRight")
        shown.page.keyboard.press("ArrowLeft")
        assert shown.page.evaluate("document.activeElement.dataset.i") == "4"
        assert shown.page.locator("#tip[role=tooltip]").inner_text().count("\n") > 8
        assert shown.page.evaluate("document.activeElement.getAttribute('aria-describedby')") == "tip"
        shown.page.keyboard.press("Escape")
        assert shown.page.locator("#tip").count() == 0
