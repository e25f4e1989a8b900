"""A trajectory in Chromium: what is shown of it equals records and token columns."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser

from src.run.records import SegmentRecord, TrajectoryRecord
from tests.analysis.viewer import run_files as made
from tests.analysis.viewer.browser import Watched, place, single, tooltips, watched

pytestmark = pytest.mark.browser


VALUES = ("author", "mask", "logprob", "difference", "entropy", "advantage", "clip")
BOUNDS = {
    "logprob": [0.01, 0.05, 0.1, 0.3, 0.7, 1.5, 3, 6],
    "entropy": [0.01, 0.05, 0.1, 0.3, 0.5, 1, 1.5, 2.5],
    "difference": [0.001, 0.01, 0.1, 1],
    "advantage": [0.01, 0.5, 1, 2],
}


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
        address = single(tmp_path, [one], [row])
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
        address = single(tmp_path, [other], [row])
        with watched(browser, address) as shown:
            shown.open(address + place(one))
            assert "do not decode to its texts" in shown.page.locator(".note").inner_text()
            assert shown.originals(".segment .text")[0] == "changed"
