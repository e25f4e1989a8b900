"""Where a block ends, over random segmentations; the second method is the grammar on whole text."""

from __future__ import annotations

from itertools import pairwise, takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.formats import FenceFormat
from src.formats.fence_grammar import columns
from src.rollout.boundary import find_boundary
from src.rollout.boundary_rule import ExactRule
from tests.fakes import BPE, BYTES, a_format

FRAGMENTS = st.sampled_from(
    ["```python\n", "```py\n", "```output\n", "```", "````", "`", "``", "\n", " ", "   ", "    ", "x = 1",
     "print('```')", "\u00e9\u4e2d", "\\boxed{1}", "python", "````python\n", "```Python \n", "```js\n",
     "\t", "1. ", "- ", "b) ", "```python3\n", "# x\n", "  x\n", "     y", "so ```python\n",
     "```python \u4e2d\n"]
)  # fmt: skip
FENCE = a_format()
AFTER_PROSE, INFO = (
    FenceFormat(**{option: True}).prepare(list(FENCE.tools.values()), BPE.tokenizer, "mini")
    for option in ("after_prose", "info")
)
FORMATS = st.sampled_from([FENCE, AFTER_PROSE, INFO])
PARTS = st.lists(FRAGMENTS, max_size=30)
TEXTS = PARTS.map("".join)


def pieces(text: str, cuts: list[int]) -> list[bytes]:
    data = text.encode()
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(places)]


def reference(form: FenceFormat, text: str) -> tuple[str, int] | None:
    """Code and end, in bytes, of the first closed Python block, by whole-text matching."""
    for start, end, kind in form.spans(text):
        opening, newline, body = text[start:end].partition("\n")
        if kind != "call" or not newline:
            continue
        marker = opening[: opening.index("`")]
        fence = len(opening) - len(marker) - len(opening[len(marker) :].lstrip("`"))
        *lines, last = body.split("\n")
        blanks = last.removesuffix("`" * fence)
        if (
            last == blanks + "`" * fence
            and not blanks.strip(" \t")
            and columns(blanks) <= max(3, columns(marker))
        ):
            return outdented(lines), len(text[:end].encode())
    return None


def outdented(lines: list[str]) -> str:
    """The lines, each without what it shares with the indentation of the first that is code."""
    code = [line for line in lines if line.strip() and not line.strip().startswith("#")]
    margin = code[0][: -len(code[0].lstrip(" \t"))] if code else ""
    shared = (
        sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(line, margin, strict=False)))
        for line in lines
    )
    return "".join(f"{line[taken:]}\n" for line, taken in zip(lines, shared, strict=True))


@settings(max_examples=500)
@given(FORMATS, PARTS, st.lists(st.integers(0, 10_000), max_size=60))
def test_scanner_agrees_with_whole_text_matching_however_the_bytes_arrive(
    form: FenceFormat, parts: list[str], cuts: list[int]
) -> None:
    text = "".join(parts)
    for arriving in (pieces(text, cuts), [part.encode() for part in parts], pieces(text, list(range(999)))):
        scanner, at, found = form.scanner(), 0, None
        for piece in arriving:
            end = scanner.feed(piece)
            if end is not None:
                found = (scanner.call.body, at + end)
                break
            at += len(piece)
        assert found == reference(form, text)


@given(FORMATS, TEXTS)
def test_cut_keeps_sampled_tokens_up_to_the_fence_and_accounts_for_the_rest(
    form: FenceFormat, text: str
) -> None:
    """Kept tokens, then injected bytes, spell the text up to the boundary; nothing beyond survives."""
    for codec in (BYTES, BPE):
        ids = codec.encode(text)
        cut = find_boundary(form.scanner(), ids, codec)
        expected = reference(form, text)
        if expected is None:
            assert cut is None
            continue
        assert cut is not None
        code, end = expected
        kept = b"".join(map(codec.bytes_of, ids[: cut.kept])) + cut.injected
        assert kept == text.encode()[:end] + (b"\n" if cut.after_newline else b"")
        assert cut.call.body == code


@pytest.mark.parametrize(
    ("closing", "kept", "injected", "after_newline"),
    [
        (["```"], 1, b"", False),
        (["```\n"], 1, b"", True),  # the newline ends the fence's own line
        (["```\n\n"], 0, b"```", False),
        (["\n```x"], 0, b"\n```", False),
        (["``", "`"], 2, b"", False),
    ],
)
def test_the_closing_token(closing: list[str], kept: int, injected: bytes, after_newline: bool) -> None:
    start = BPE.encode("```python\nprint(1)" + ("" if closing[0].startswith("\n") else "\n"))
    ids = [BPE.tokenizer.convert_tokens_to_ids(token.replace("\n", "\u010a")) for token in closing]
    assert None not in ids
    cut = find_boundary(FENCE.scanner(), [*start, *ids], BPE)
    assert cut is not None
    assert (cut.kept - len(start), cut.injected, cut.after_newline) == (kept, injected, after_newline)
    assert cut.call.body == "print(1)\n"


def test_code_that_prints_a_fence_is_not_cut_short() -> None:
    """The reference system ends the block at the first three backticks anywhere."""
    code = "print('```')\nx = '''\n  a ```\n'''\n"
    cut = find_boundary(FENCE.scanner(), BYTES.encode(f"```python\n{code}```"), BYTES)
    assert cut is not None
    assert cut.call.body == code


def test_a_condition_does_not_move_the_scanner_it_was_made_from() -> None:
    scanner = FENCE.scanner()
    scanner.feed(b"```python\npass\n")
    stop = ExactRule(FENCE, BYTES).stop_condition(scanner)
    assert stop is not None
    assert [stop(i) for i in BYTES.encode("```")] == [False, False, True]
    assert scanner.inside
    assert scanner.feed(b"```") == 3
