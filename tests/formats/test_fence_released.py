"""What the released code of the paper accepts, and nothing else."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.formats import ReleasedFenceFormat
from src.formats.base import CALL, RESULT
from src.rewards.answers import extract_answer
from src.rollout.boundary_rule import build_boundary_rule
from src.tools import PythonTool
from tests.fakes import BPE, BYTES, a_format
from tests.tools.examples import Calculator

RELEASED = a_format("fence_released")
PARTS = st.lists(
    st.sampled_from(
        ["```python\n", "```python", "```Python\n", "```py", "thon", "```output\n", "```", "````", "`", "``",
         "\n", " ", "so ", "print('```')", "print(1)", "    ", "\u4e2d", "\u00a0", "\\boxed{1}"]
    ),
    max_size=20,
)  # fmt: skip


def reference(text: str) -> tuple[str, int] | None:
    """The program, and its end in bytes: one pattern over the whole text."""
    found = re.search("```python((?:(?!```).)*)```", text, re.DOTALL)
    if found is None or not found[1].strip():
        return None
    return found[1].removeprefix("\n"), len(text[: found.end()].encode())


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("```python\nprint(1)\n```", "print(1)\n"),
        ("We run ```python\nprint(1)\n```", "print(1)\n"),
        ("1. So:\n    ```python\n    x\n    ```", "    x\n    "),
        ("```python print(1)```", " print(1)"),
        ("```python\nprint(1)```", "print(1)"),
        ("```python3\nprint(1)\n```", "3\nprint(1)\n"),
        ("```python\nprint('```')\n```", "print('"),
        ("````python\nx\n````", "x\n"),
        ("```output\n```python\nx\n```", "x\n"),
        ("```python a ```python b ```", " a "),
        ("```python\n \n```\n```python\nx\n```", None),  # the first block decides
        ("```Python\nx\n```", None),
        ("```py\nx\n```", None),
        ("~~~python\nx\n~~~", None),
        ("```python\nx\n``", None),
    ],
)
def test_what_is_a_program(text: str, program: str | None) -> None:
    scanner = RELEASED.scanner()
    end = scanner.feed(text.encode())
    assert (None if end is None else scanner.call.body) == program
    assert reference(text) == (None if end is None else (program, end))


@settings(max_examples=500)
@given(PARTS, st.lists(st.integers(0, 10_000), max_size=60))
def test_the_scanner_finds_what_the_pattern_finds_however_the_bytes_arrive(
    parts: list[str], cuts: list[int]
) -> None:
    text = "".join(parts)
    data = text.encode()
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for arriving in ([data[a:b] for a, b in pairwise(places)], [bytes([byte]) for byte in data]):
        scanner, at, found = RELEASED.scanner(), 0, None
        for piece in arriving:
            end = scanner.copy().feed(piece)
            assert end == scanner.feed(piece)
            if end is not None:
                found = (scanner.call.body, at + end)
                break
            at += len(piece)
        assert found == reference(text)
        if found is not None:
            first = next(span for span in RELEASED.spans(text) if span.kind == CALL)
            assert len(text[: first.end].encode()) == found[1]


@given(PARTS)
def test_sampling_on_and_cutting_gives_the_call_at_which_an_exact_boundary_stops(parts: list[str]) -> None:
    for codec in (BYTES, BPE):
        ids = codec.encode("".join(parts))
        found = []
        for boundary in ("exact", "post_hoc"):
            rule = build_boundary_rule(boundary, RELEASED, codec)
            found.append(rule.find(rule.scanner(), ids))
        assert found[0] == found[1]
        stop = build_boundary_rule("post_hoc", RELEASED, codec).stop_condition(RELEASED.scanner())
        assert stop is None


@given(PARTS)
def test_the_blocks_of_a_text_are_in_order_and_calls_are_not_in_results(parts: list[str]) -> None:
    text = "".join(parts)
    spans = RELEASED.spans(text)
    assert all(one.end <= other.start for one, other in pairwise(spans))
    calls = [text[span.start : span.end] for span in spans if span.kind == CALL]
    assert len(calls) == len(re.findall(r"```python(?:(?!```).)*(?:```|\Z)", text, re.DOTALL))
    assert all(text.startswith("```output", span.start) for span in spans if span.kind == RESULT)


def test_an_answer_in_a_program_after_prose_earns_nothing() -> None:
    text = "We run ```python\nprint(r'\\boxed{7}')```"
    assert extract_answer([text], RELEASED.spans) is None
    assert extract_answer([text], a_format("fence").spans) == "7"


def test_a_result_that_the_policy_makes_up_within_a_line_is_told() -> None:
    assert RELEASED.fabricates("so ```output\n5\n```")
    assert not RELEASED.fabricates("so ```output\n```")
    assert not RELEASED.fabricates("```python\n```output\n5")  # the program ends there


def test_names_that_could_be_a_program_of_another_tool_are_refused() -> None:
    class Pythonic(Calculator):
        name = "pythonic"

    with pytest.raises(ValueError, match="pythonic begins with python; rename it"):
        ReleasedFenceFormat().prepare([PythonTool(None), Pythonic()], BPE.tokenizer, "mini")
