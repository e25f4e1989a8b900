"""Feedback can neither open nor close a fence (docs/design.md, invariant Markup safety)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.formats.base import RawCall
from src.formats.fence_grammar import fence_spans
from src.rollout.boundary import Boundary
from src.rollout.observation import SPENT, message, observation, shorten
from src.sandbox import ExecutionResult, Status
from tests.fakes import BPE, EOS, a_format

HOSTILE = st.lists(
    st.sampled_from(["```", "`", "``", "````python\n", "\n", "x", "```output\n", "\r", "\u2028", "\x00", " "])
).map("".join)


FENCE = a_format()
OPEN_LINE, ENDED_LINE = (
    Boundary(1, b"", RawCall("python", ""), after_newline) for after_newline in (False, True)
)


def feedback(result: ExecutionResult, limit: int, at: Boundary, errors: str = "message") -> str:
    return "".join(piece.text for piece in observation(message(result, limit, FENCE, errors), at, FENCE))


def notice(at: Boundary) -> str:
    return "".join(piece.text for piece in observation(SPENT, at, FENCE))


def ok(stdout: str) -> ExecutionResult:
    return ExecutionResult(Status.OK, stdout, None, 0.1)


@given(HOSTILE, st.integers(16, 60), st.booleans())
def test_feedback_is_exactly_one_output_block(printed: str, limit: int, after_newline: bool) -> None:
    text = feedback(ok(printed), limit, ENDED_LINE if after_newline else OPEN_LINE)
    start = 0 if after_newline else 1
    assert fence_spans(text) == [(start, len(text) - 1, "result")]


@given(st.text(), st.integers(16, 60))
def test_message_is_no_longer_than_the_limit_and_keeps_head_and_tail(printed: str, limit: int) -> None:
    said = message(ok(printed), limit, FENCE)
    assert len(said) <= limit
    assert "```" not in said


def test_shorten_keeps_both_ends() -> None:
    assert shorten("a" * 50 + "b" * 50, 25) == "a" * 10 + "\n...\n" + "b" * 10


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (ok("  7 \n"), "7"),
        (ok("\n"), "no output"),
        (ExecutionResult(Status.ERROR, "1\n", "NameError: name 'x' is not defined", 0.1),
         "NameError: name 'x' is not defined"),
        (ExecutionResult(Status.TIMEOUT, "", "timed out after 5 s", 5.0), "timed out after 5 s"),
        (ExecutionResult(Status.ERROR, "", "ValueError: ```python", 0.1), "ValueError: '''python"),
    ],
)  # fmt: skip
def test_message(result: ExecutionResult, said: str) -> None:
    assert message(result, 400, FENCE) == said


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.OK])
def test_a_bare_error_says_nothing_else(status: Status) -> None:
    failed = ExecutionResult(status, "7\n", "NameError: name 'x' is not defined", 0.1)
    assert feedback(failed, 16, OPEN_LINE, "bare") == "\n```output\nerror\n```\n"
    assert feedback(ok("7\n"), 16, OPEN_LINE, "bare") == feedback(ok("7\n"), 16, OPEN_LINE)


def test_the_two_forms_give_the_same_text_after_the_fence() -> None:
    assert "```" + feedback(ok("1"), 400, OPEN_LINE) == "```\n" + feedback(ok("1"), 400, ENDED_LINE)
    assert notice(OPEN_LINE) == "\n" + notice(ENDED_LINE)


def test_a_printed_control_token_stays_text() -> None:
    ids = BPE.encode(feedback(ok(EOS), 400, ENDED_LINE))
    assert not BPE.eos_ids & set(ids)
    assert EOS in b"".join(map(BPE.bytes_of, ids)).decode()
