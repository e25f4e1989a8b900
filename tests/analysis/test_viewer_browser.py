"""The viewer in Chromium: what it shows equals the records, its keys, and text that would do harm."""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from playwright.sync_api import Browser, sync_playwright

from analysis.viewer import page, served
from src.run.records import ExecutionRecord, SegmentRecord, TrajectoryRecord
from tests.analysis import viewer_run as made
from tests.analysis.browser import Watched, launch, watched
from tests.analysis.test_viewer import loaded

pytestmark = pytest.mark.browser

VALUES = ("author", "mask", "logprob", "difference", "entropy", "advantage", "clip")
BOUNDS = {
    "logprob": [0.01, 0.05, 0.1, 0.3, 0.7, 1.5, 3, 6],
    "entropy": [0.01, 0.05, 0.1, 0.3, 0.5, 1, 1.5, 2.5],
    "difference": [0.001, 0.01, 0.1, 1],
    "advantage": [0.01, 0.5, 1, 2],
}


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


def place(one: TrajectoryRecord, run: str = "run") -> str:
    """Return the permalink of a trajectory."""
    parts = [run, one.phase, one.step, one.mode, one.problem_id, one.sample]
    return "#/t/" + "/".join(quote(str(part), safe="") for part in parts)


def single(
    folder: Path, records: Sequence[TrajectoryRecord], *, tokens: bool = True, name: str = "run"
) -> str:
    """Write a run and its page; return the address."""
    made.write_records(folder, records)
    if tokens:
        made.write_tokens(folder, [made.row(one) for one in records])
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


def bucket(name: str, value: float | None) -> str:
    """Return the class of a numeric value's colour."""
    if value is None:
        return "none"
    small = float(np.float16(value))
    size = sum(abs(small) >= bound for bound in BOUNDS[name])
    if name in ("difference", "advantage"):
        return f"d{4 + (size if small > 0 else -size)}"
    return f"q{size}"


def expected_class(name: str, row: dict[str, Any], at: int) -> str:
    """Return the class of a token's colour, from its columns."""
    if name == "author":
        return f"a-{row['author'][at]}"
    if name == "mask":
        return f"m-{row['reason'][at]}"
    if name == "clip":
        return "none" if row["clipped"][at] is None else f"k-{row['clipped'][at]}"
    if not row["mask"][at] and name in ("difference", "advantage"):
        return "none"
    if name == "advantage":
        return bucket(name, row["advantage"])
    if name == "difference":
        return bucket(name, float(np.float32(row["logprob"][at]) - np.float32(row["sampled_logprob"][at])))
    return bucket(name, row[name][at])


def same(text: str, value: float | None) -> bool:
    """Whether a number is shown to three digits, or a dash for none."""
    if value is None:
        return text == "–"
    return text != "–" and math.isclose(float(text), float(np.float16(value)), rel_tol=6e-3, abs_tol=1e-7)


class TestTruth:
    @pytest.mark.parametrize("number", [4, 17, 30, 51])
    def test_every_token_is_that_of_the_records(
        self, shown: Watched, written: list[TrajectoryRecord], number: int
    ) -> None:
        one = written[number]
        assert one.phase == "train"
        row = made.row(one)
        shown.go(place(one))
        assert shown.originals(".segment:not(.prompt) .text") == [each.text for each in one.segments]
        assert shown.original(".segment.prompt .text") == one.prompt
        tips = tooltips(shown)
        assert len(tips) == len(row["token_ids"])
        for at, tip in enumerate(tips):
            assert tip["number"] == f"{at} of {len(tips)}, id {row['token_ids'][at]}"
            said = made.codec().bytes_of(row["token_ids"][at])
            if row["token_ids"][at] not in made.codec().eos_ids:
                assert bytes.fromhex(tip["bytes"].partition(" (")[0]) == said
            assert tip["author"] == row["author"][at]
            assert tip["mask"][0] == "01"[row["mask"][at]]
            trained = row["mask"][at]
            apart = row["logprob"][at] - row["sampled_logprob"][at] if trained else None
            for name, value in {
                "logprob, engine": row["sampled_logprob"][at],
                "logprob, trainer": row["logprob"][at],
                "entropy": row["entropy"][at],
                "ratio": row["ratio"][at],
                "engine weight": row["engine_weight"][at],
                "advantage": row["advantage"] if trained else None,
                "trainer - engine": apart,
            }.items():
                assert same(tip[name], value), (at, name, tip[name], value)
        assert any("part of a character" in tip["bytes"] for tip in tips)
        for name in VALUES:
            shown.page.select_option("#colour", name)
            classes = shown.page.eval_on_selector_all(
                ".flow .t[data-i]", "all => all.map((one) => one.className)"
            )
            assert classes == [f"t {expected_class(name, row, at)}" for at in range(len(tips))], name
            assert shown.page.locator(".chooser .legend li").count() >= 3

    def test_programs_outputs_and_what_is_known_of_a_trajectory(
        self, shown: Watched, written: list[TrajectoryRecord]
    ) -> None:
        one = written[9]
        shown.go(place(one))
        (ran,) = one.executions
        assert shown.originals(".execution .code") == [ran.code]
        assert shown.originals(".execution .output") == [ran.output or "nothing"]
        assert shown.page.locator(".execution .h-keyword").first.text_content() == "import"
        assert "✓ ok · python · 0.25 s" in shown.page.locator(".execution h3").inner_text()
        facts = shown.page.locator(".facts").first.inner_text()
        for words in (str(one.seed), "correctness", one.stop_reason, f"policy {one.tokens('policy')}"):
            assert words in facts
        labels = shown.page.locator(".timeline svg").first.get_attribute("aria-label") or ""
        assert f"segment 1: policy, {one.segments[0].tokens} tokens" in labels
        assert "execution 1: ok, 0.25 s" in labels
        assert "segment 1: sampling, 0.5 s; execution 1: waiting, 0.25 s; execution 1: ok, 0.25 s" in labels

    def test_by_segment_without_token_columns(self, shown: Watched, written: list[TrajectoryRecord]) -> None:
        one = written[0]
        assert one.phase == "before"
        shown.go(place(one))
        assert shown.originals(".segment .text") == [each.text for each in one.segments]
        assert (
            "It has no token columns, so it is shown by segment." in shown.page.locator(".note").inner_text()
        )
        assert shown.page.locator("#colour").count() == 0

    def test_bytes_that_are_no_characters(self, browser: Browser, tmp_path: Path) -> None:
        """Each byte is a token: of half an emoji, of nothing, of a character that the segment's end cuts."""
        said = [b"a\xf0\x9f\x98", b"b\xff\xc3\xa9", b"\xed\xa0\x80\xf0\x90\xc3"]
        ids = [made.codec().encode_bytes(data) for data in said]
        base = made.record()
        one = replace(
            base,
            segments=[
                SegmentRecord("policy", data.decode("utf-8", "replace"), len(own))
                for data, own in zip(said, ids, strict=True)
            ],
            executions=[],
        )
        row = made.row(base)
        at, size = one.prompt_tokens, one.prompt_tokens + sum(map(len, ids))
        row = {name: value[:size] if isinstance(value, list) else value for name, value in row.items()}
        row |= {"token_ids": [*row["token_ids"][:at], *(index for own in ids for index in own)]}
        row |= {"author": ["prompt"] * at + ["policy"] * (size - at)}
        made.write_records(tmp_path, [one])
        made.write_tokens(tmp_path, [row])
        page.write(tmp_path / "view.html", [loaded(tmp_path, "run")])
        address = (tmp_path / "view.html").as_uri()
        with watched(browser, address) as shown:
            shown.open(address + place(one))
            assert shown.originals(".segment:not(.prompt) .text") == [each.text for each in one.segments]
            found = [bytes.fromhex(tip["bytes"].partition(" (")[0]) for tip in tooltips(shown)[at:]]
            assert b"".join(found) == b"".join(said)
            assert shown.page.locator(".flow .t[data-mark]").count() > 4

    def test_tokens_that_do_not_decode_to_the_text(self, browser: Browser, tmp_path: Path) -> None:
        one = made.record()
        row = made.row(one)
        other = replace(one, segments=[replace(one.segments[0], text="changed"), *one.segments[1:]])
        made.write_records(tmp_path, [other])
        made.write_tokens(tmp_path, [row])
        page.write(tmp_path / "view.html", [loaded(tmp_path, "run")])
        address = (tmp_path / "view.html").as_uri()
        with watched(browser, address) as shown:
            shown.open(address + place(one))
            assert "do not decode to its texts" in shown.page.locator(".note").inner_text()
            assert shown.originals(".segment .text")[0] == "changed"


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
            ("tokens=1 run=run", lambda one: one.phase == "train"),
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
            shown.page.wait_for_function("document.querySelector('#rows').textContent.includes('2999')")
            assert len(self.rows(shown)) < 100
            self.filter(shown, "answer=2998 boxed")
            milliseconds = float(shown.page.locator("#count").get_attribute("data-ms") or "nan")
            print(f"filtered in {milliseconds} ms")
            assert milliseconds < 20_000
            assert [row["answer"] for row in self.rows(shown)] == ["2998"]


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


HOSTILE = [
    "</script><script>window.hit=1</script>",
    "<img src=x onerror='window.hit=1'><svg onload=window.hit=1>",
    "<!--<script>--><style>*{display:none}</style><base href=//evil.example>",
    "<iframe srcdoc='<script>parent.hit=1</script>'></iframe><a href='javascript:window.hit=1'>x</a>",
    "\u202e\u2066reversed\u2069 \u061c\u200f\ufeff\u200b",
    "\x00\x01\x07\x1b[31m\x1b]0;title\x07\r\x7f\x85\u2028\u2029",
    "${window.hit=1}`{{constructor.constructor('window.hit=1')()}}",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U000e0041 e\u0301\u0301\u0301 \u05d0\u05d1 \ufffe",
]


class TestHostile:
    def test_the_trap_works(self, browser: Browser) -> None:
        """In a page that takes such text for markup, it does run."""
        opened = browser.new_page()
        opened.set_content(HOSTILE[1])
        opened.wait_for_function("window.hit === 1")
        opened.close()

    def test_a_script_that_is_not_the_pages_own_does_not_run(self, browser: Browser, tmp_path: Path) -> None:
        address = single(tmp_path, [made.record()])
        with watched(browser, address) as shown:
            shown.open(address)
            shown.page.evaluate(
                """() => {
                  const script = document.createElement("script");
                  script.textContent = "window.hit = 1";
                  document.body.append(script);
                  document.body.setAttribute("onclick", "window.hit = 1");
                  document.body.click();
                }"""
            )
            assert shown.page.evaluate("window.hit") is None
            assert len(shown.faults) == 2, shown.faults
            shown.faults.clear()

    @pytest.mark.parametrize("tokens", [True, False], ids=["tokens", "segments"])
    def test_nothing_runs_and_nothing_is_lost(self, browser: Browser, tmp_path: Path, tokens: bool) -> None:
        records = []
        for at, text in enumerate(HOSTILE):
            ran = ExecutionRecord(
                "error", 0.1, text, "python", f"{text}\n# {text}\n'{text}", f"{text}\n{text}"
            )
            records.append(
                made.record(
                    f"{text}/'\"#?&%2F~{at}", policy=text, tool=text, problem=text, subject=text, answer=text,
                    gold=text, source=text, executions=[ran], stop_reason=text,
                )
            )  # fmt: skip
        (tmp_path / "config.json").write_text(
            json.dumps({"model": {"path": HOSTILE[0]}, HOSTILE[1]: HOSTILE[4]})
        )
        (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 0, "attempt": 0, HOSTILE[0]: 1.0}) + "\n")
        address = single(tmp_path, records, tokens=tokens, name=HOSTILE[0])
        with watched(browser, address) as shown:
            shown.open(address)
            assert shown.page.locator("#rows tr").count() == len(HOSTILE)
            for at, one in enumerate(records):
                shown.go("#/")
                shown.drawing(shown.page.locator("#rows tr a").nth(at).click)
                assert shown.original("h1") == one.problem_id
                assert shown.originals(".segment:not(.prompt) .text") == [each.text for each in one.segments]
                assert shown.originals(".execution .code") == [one.executions[0].code]
                assert shown.originals(".execution .output") == [one.executions[0].output]
                assert shown.originals(".execution .error bdi") == [HOSTILE[at]]
                assert shown.original("section.problem .text") == one.problem
                assert shown.original("details.prompt .text") == one.prompt
                for hidden in "\u202e\x1b\x00\u2066\u200b":
                    assert hidden not in shown.page.locator("#main").evaluate("one => one.textContent")
                if tokens:
                    tooltips(shown)
                    shown.page.mouse.move(0, 0)
                shown.drawing(shown.page.locator("h1 a").click)
                shown.page.wait_for_selector("#parting")
                assert shown.original("h1") == one.problem_id
            shown.page.wait_for_timeout(200)
            for there in ("step.link(store.runs[0], 'train', 0)", "links.to('r', store.runs[0].name)"):
                shown.go(shown.page.evaluate(there))
            shown.page.keyboard.press("?")
            shown.page.keyboard.press("Escape")
            shown.go("#/")
            shown.drawing(lambda: shown.page.check("#group"))
            assert shown.page.evaluate("window.hit") is None

    def test_half_a_surrogate_pair_in_every_place(self, browser: Browser, tmp_path: Path) -> None:
        text = "a\ud800b\udc00"
        one = asdict(made.record(prompt="p"))
        one |= {"problem_id": text, "problem": text, "answer": text}
        one["segments"][0]["text"] = text
        (tmp_path / "trajectories.jsonl").write_text(json.dumps(one) + "\n")
        page.write(tmp_path / "view.html", [loaded(tmp_path, "run")])
        address = (tmp_path / "view.html").as_uri()
        with watched(browser, address) as shown:
            shown.open(address)
            shown.drawing(shown.page.locator("#rows tr a").first.click)
            units = shown.page.eval_on_selector(
                ".segment .text",
                "one => [...one.querySelectorAll('.ctl')].map((mark) => mark.dataset.original.charCodeAt(0))",
            )
            assert units == [0xD800, 0xDC00]
            assert "a\\ud800b\\udc00" in shown.page.locator("h1").inner_text()
            shown.drawing(lambda: shown.page.reload())
            assert "a\\ud800b\\udc00" in shown.page.locator("h1").inner_text(), "the address names it"

    def test_a_line_of_a_megabyte_is_shown_in_parts(self, browser: Browser, tmp_path: Path) -> None:
        line = "<b>0123456789\u202e</b>" * (1 << 16)
        base = made.record()
        long = replace(
            base,
            segments=[base.segments[0], SegmentRecord("tool", line, 9, "python"), base.segments[2]],
            executions=[ExecutionRecord("ok", 0.1, None, "python", line, line)],
        )
        address = single(tmp_path, [long], tokens=False)
        with watched(browser, address) as shown:
            shown.open(address)
            began = time.perf_counter()
            shown.go(place(long))
            print(f"\nshown in {time.perf_counter() - began:.2f} s")
            assert time.perf_counter() - began < 60
            text = shown.page.locator(".segment.tool .text")
            assert 0 < len(text.inner_text()) < 40_000
            parts = text.evaluate(
                """text => {
                  let parts = 0;
                  for (let more; (more = text.querySelector("button.more")); parts++) more.click();
                  return parts;
                }"""
            )
            assert parts == len(line) // 20_000
            assert shown.original(".segment.tool .text") == line

    def test_a_hundred_thousand_tokens(self, browser: Browser, tmp_path: Path) -> None:
        base = made.record()
        word = made.codec().encode(" 7+")
        many = SegmentRecord("policy", " 7+" * (100_000 // len(word)), 100_000 // len(word) * len(word))
        one = replace(base, segments=[many, *base.segments[1:]])
        row = made.row(base)
        size = many.tokens
        ids = made.codec().encode(made.PROMPT.format(problem=base.problem)) + word * (size // len(word))
        authors = ["prompt"] * base.prompt_tokens + ["policy"] * size
        for segment in base.segments[1:]:
            own = made.codec().encode(segment.text)
            own += sorted(made.codec().eos_ids)[:1] * (segment.tokens - len(own))
            ids, authors = ids + own, authors + [segment.author] * len(own)
        for name, value in row.items():
            if isinstance(value, list):
                row[name] = [value[-1]] * len(ids)
        row |= {"token_ids": ids, "author": authors, "mask": [author == "policy" for author in authors]}
        made.write_records(tmp_path, [one])
        made.write_tokens(tmp_path, [row])
        page.write(tmp_path / "view.html", [loaded(tmp_path, "run")])
        address = (tmp_path / "view.html").as_uri()
        with watched(browser, address) as shown:
            took = shown.open(address + place(one))
            print(f"\n100,000 tokens opened in {took:.2f} s")
            assert took < 60
            assert shown.page.locator(".flow .t[data-i]").count() == 3000
            shown.page.locator(".more-tokens button").first.click()
            assert shown.page.locator(".flow .t[data-i]").count() == 6000
            shown.page.locator(".more-tokens button").last.click()
            assert shown.page.locator(".flow .t[data-i]").count() == len(ids)
            assert shown.originals(".segment:not(.prompt) .text") == [each.text for each in one.segments]


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
