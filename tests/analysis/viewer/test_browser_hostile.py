"""Text in Chromium that would do harm, and what is too long to be drawn at once."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from analysis.viewer import page
from src.run.records import ExecutionRecord, SegmentRecord
from tests.analysis.viewer import run_files as made
from tests.analysis.viewer.browser import place, single, tooltips, watched
from tests.analysis.viewer.reading import loaded

pytestmark = pytest.mark.browser


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
        opened.wait_for_function("() => window.hit === 1")
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
        address = single(tmp_path, [one], [row])
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
