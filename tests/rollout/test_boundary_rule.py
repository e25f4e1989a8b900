"""The choices of ``rollout.boundary``: what runs, what stays, what is thrown away."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.config import RolloutConfig
from src.policy.codec import TokenCodec
from src.rollout.boundary_rule import build_boundary_rule
from src.rollout.engines import Finish, Generation, Request
from src.rollout.trajectory import StopReason, Task
from src.sandbox import ExecutionResult, Status
from tests.fakes import BPE, BYTES, FakeSandbox, ScriptedEngine, a_format, problem, rollout_scheduler
from tests.rollout.test_scheduler import FRAGMENTS, one, run, script, shape

CONFIG = RolloutConfig(max_tokens=400)
POST_HOC, STOP_STRING = replace(CONFIG, boundary="post_hoc"), replace(CONFIG, boundary="stop_string")
CODE = "```python\nprint(6*7)\n```"
TEXTS = st.lists(FRAGMENTS, min_size=1, max_size=30).map("".join)


@settings(max_examples=300)
@given(TEXTS, st.lists(st.integers(0, 8), max_size=7), st.sampled_from([BYTES, BPE]),
       st.sampled_from(["exact", "stop_string"]))  # fmt: skip
def test_watch_fires_where_the_cut_is_and_engines_know_where_it_may(
    text: str, chunks: list[int], codec: TokenCodec, boundary: str
) -> None:
    """An engine that asks only at ``stop_ids`` and behind ``stop_strings`` misses no boundary."""
    rule = build_boundary_rule(boundary, a_format(codec=codec), codec)
    ids = [token for token in script(text, codec, chunks) if token not in codec.eos_ids]
    stop = rule.stop_condition(rule.scanner())
    assert stop is not None
    fired = next((at for at, token in enumerate(ids) if stop(token)), None)
    cut = rule.find(rule.scanner(), ids)
    assert (fired is None) == (cut is None)
    if fired is None or cut is None:
        return
    assert fired in (cut.kept, cut.kept - 1)
    said = b"".join(map(codec.bytes_of, ids[: fired + 1])).decode(errors="replace")
    assert ids[fired] in stop.stop_ids or any(string in said for string in stop.stop_strings)


@settings(max_examples=200)
@given(TEXTS, st.sampled_from([BYTES, BPE]), st.integers(0, 3))
def test_post_hoc_gives_what_fence_gives_up_to_the_first_execution(
    text: str, codec: TokenCodec, budget: int
) -> None:
    ids = script(text, codec, [])
    (ours,), _ = run([ids], codec, CONFIG, budget=budget)
    (theirs,), engine = run([ids], codec, POST_HOC, budget=budget)
    first = ours.segments[0]
    assert theirs.segments[0] == first
    assert [e.code for e in theirs.executions[:1]] == [e.code for e in ours.executions[:1]]
    assert all(request.stop_condition is None for request, _, _ in engine.log)
    sampled = sum(len(generation.token_ids) for _, _, generation in engine.log)
    assert theirs.dropped_tokens == sampled - sum(theirs.mask)


def test_post_hoc_throws_away_what_was_sampled_behind_the_block() -> None:
    trajectory = one(f"{CODE} I guess \\boxed{{41}}<|end|>\\boxed{{42}}<|end|>", POST_HOC)
    assert shape(trajectory) == [
        ("policy", CODE),
        ("tool", "\n```output\n42\n```\n"),
        ("policy", "\\boxed{42}"),
    ]
    assert trajectory.dropped_tokens == len(" I guess \\boxed{41}") + 1
    assert trajectory.stop_reason is StopReason.ANSWERED


LATE, EARLY = replace(CONFIG, boundary="late"), replace(CONFIG, boundary="early")


@pytest.mark.parametrize("codec", [BYTES, BPE], ids=["bytes", "bpe"])
def test_late_feedback_follows_what_the_policy_wrote_past_its_call(codec: TokenCodec) -> None:
    """And the same call runs; what was invented there is trained on, the end-of-text token is not kept.

    ::

        policy   ```python\\nprint(6*7)\\n```\\n```output\\n41\\n```\\nSo \\boxed{41}.
        tool     \\n```output\\n42\\n```\\n
        policy   \\boxed{42}
    """
    sandbox = FakeSandbox()
    past = "\n```output\n41\n```\nSo \\boxed{41}."
    trajectory = one(f"{CODE}{past}<|end|>\\boxed{{42}}<|end|>", LATE, codec=codec, sandbox=sandbox)
    assert sandbox.ran == ["print(6*7)\n"]
    assert shape(trajectory) == [
        ("policy", CODE + past),
        ("tool", "\n```output\n42\n```\n"),
        ("policy", "\\boxed{42}"),
    ]
    assert trajectory.dropped_tokens == 1
    assert trajectory.fabricated_output


def test_late_feedback_after_a_line_needs_no_line_of_its_own() -> None:
    trajectory = one(f"{CODE}\nThen\n<|end|>\\boxed{{42}}<|end|>", LATE)
    assert shape(trajectory)[:2] == [("policy", f"{CODE}\nThen\n"), ("tool", "```output\n42\n```\n")]


def test_late_code_at_the_limit_of_tokens_does_not_run() -> None:
    sandbox = FakeSandbox()
    trajectory = one(f"{CODE} {'so ' * 200}", replace(LATE, max_tokens=60), sandbox=sandbox)
    assert trajectory.stop_reason is StopReason.LENGTH
    assert (sandbox.ran, len(trajectory.completion_ids)) == ([], 60)


@pytest.mark.parametrize(
    ("codec", "left"), [(BYTES, "```python\nprint(6*7)\n``"), (BPE, None)], ids=["bytes", "bpe"]
)
def test_early_feedback_begins_before_the_fence_is_complete(codec: TokenCodec, left: str | None) -> None:
    sandbox = FakeSandbox()
    trajectory = one(f"{CODE}\\boxed{{42}}<|end|>", EARLY, codec=codec, sandbox=sandbox)
    assert sandbox.ran == ["print(6*7)\n"]
    (author, policy), (_, feedback), (_, last) = shape(trajectory)
    assert author == "policy"
    assert policy == left if left is not None else CODE.startswith(policy) and policy != CODE
    assert not policy.rstrip("\n").endswith("```")
    assert feedback.removeprefix("\n") == "```output\n42\n```\n"
    assert feedback.startswith("\n") is not policy.endswith("\n")
    assert last == "\\boxed{42}"
    assert trajectory.dropped_tokens == 1


@settings(max_examples=200)
@given(TEXTS, st.sampled_from([BYTES, BPE]), st.integers(0, 3), st.sampled_from([LATE, EARLY]))
def test_inexact_boundaries_keep_the_other_invariants(
    text: str, codec: TokenCodec, budget: int, cfg: RolloutConfig
) -> None:
    """The policy's tokens are still those sampled, in order; each execution has its feedback."""
    (trajectory,), engine = run([script(text, codec, [])], codec, cfg, budget=budget)
    assert len(trajectory.executions) <= budget
    sampled = iter(token for _, _, generation in engine.log for token in generation.token_ids)
    ours = [
        token for segment in trajectory.segments if segment.author == "policy" for token in segment.token_ids
    ]
    assert all(token in sampled for token in ours), "a subsequence"
    assert sum(segment.author == "tool" for segment in trajectory.segments) <= len(trajectory.executions)


@pytest.mark.parametrize("codec", [BYTES, BPE], ids=["bytes", "bpe"])
def test_stop_string_runs_the_last_block_when_the_policy_opens_its_output(codec: TokenCodec) -> None:
    sandbox = FakeSandbox()
    text = f"```python\nx = 1\n```\nand then\n{CODE}\nIt prints\n```output\\boxed{{42}}<|end|>"
    trajectory = one(text, STOP_STRING, codec=codec, sandbox=sandbox)
    assert sandbox.ran == ["print(6*7)\n"]
    assert shape(trajectory) == [
        ("policy", f"```python\nx = 1\n```\nand then\n{CODE}\nIt prints\n```output"),
        ("tool", "\n42\n```\n"),
        ("policy", "\\boxed{42}"),
    ]
    assert trajectory.dropped_tokens == 0


def test_stop_string_leaves_alone_a_policy_that_opens_no_output() -> None:
    sandbox = FakeSandbox()
    trajectory = one(f"{CODE}\nso \\boxed{{42}}<|end|>", STOP_STRING, sandbox=sandbox)
    assert sandbox.ran == []
    assert len(trajectory.segments) == 1
    assert trajectory.stop_reason is StopReason.ANSWERED


@pytest.mark.parametrize("before", ["", "``\n", "text ", "```\nx\n```\n", f"{CODE}\nsee "])
def test_stop_string_needs_a_complete_block_before_it_and_a_line_of_its_own(before: str) -> None:
    sandbox = FakeSandbox()
    one(f"{before}```output\n1\n```\n\\boxed{{1}}<|end|>", STOP_STRING, sandbox=sandbox)
    assert sandbox.ran == []


def test_stop_string_takes_a_fence_that_closes_and_opens_for_both() -> None:
    """Policies write it, and ToRL stops there."""
    sandbox = FakeSandbox()
    one("```python\nx\n```output\\boxed{1}<|end|>", STOP_STRING, sandbox=sandbox)
    assert sandbox.ran == ["x\n"]


def test_stop_string_feedback_of_several_turns_stays_well_formed() -> None:
    """One feedback an execution, which opens and closes one block (docs/design.md, Markup safety)."""
    sandbox = FakeSandbox(lambda code: ExecutionResult(Status.OK, "```\nsly\n```output\n", None, 0.0))
    text = f"{CODE}\n```output{CODE}\n```output\\boxed{{42}}<|end|>"
    trajectory = one(text, STOP_STRING, sandbox=sandbox, budget=3)
    said = [text for author, text in shape(trajectory) if author == "tool"]
    assert len(said) == len(trajectory.executions) == 2
    for one_said in said:
        lines = one_said.split("\n")
        assert lines[0] == ""
        assert lines[-2].strip("`") == ""
        assert not any(line.startswith(lines[-2]) for line in lines[1:-2])


INVENTED = f"{CODE}\n```output\n41\n```\n\\boxed{{41}}<|end|>"  # as if nothing had run
REST = "\\boxed{42}<|end|>"


@pytest.mark.parametrize("codec", [BYTES, BPE], ids=["bytes", "bpe"])
@pytest.mark.parametrize(
    ("boundary", "budget", "text", "fabricated"),
    [
        ("exact", 1, CODE + REST, False),  # the rest is sampled after the feedback
        ("exact", 1, f"{CODE}\n{INVENTED}", True),  # the second block is beyond the budget
        ("exact", 2, f"{CODE}\n```output\n41\n```\n{REST}", True),  # an output without a program
        ("exact", 0, f"{CODE}\n```output\n```\n{REST}", False),
        ("exact", 0, f"{CODE}\n```output", False),
        ("post_hoc", 1, INVENTED + REST, True),  # thrown away
        ("post_hoc", 1, f"{CODE}\nI guess \\boxed{{41}}<|end|>{REST}", False),
        ("post_hoc", 1, f"{CODE}\n```output\n<|end|>{REST}", False),
        ("stop_string", 1, f"{CODE}\n```output{REST}", False),  # the sandbox fills it
        ("stop_string", 1, INVENTED.replace(CODE, "So"), True),
        ("stop_string", 0, INVENTED, True),
    ],
)
def test_what_the_policy_invents(
    boundary: str, budget: int, text: str, fabricated: bool, codec: TokenCodec
) -> None:
    trajectory = one(text, replace(CONFIG, boundary=boundary), budget=budget, codec=codec)
    assert trajectory.fabricated_output == fabricated
    assert len(trajectory.executions) == (0 if "So" in text else min(budget, text.count("python")))


class Halting(ScriptedEngine):
    """Stops behind every token, as engines may at a fence that ends no program."""

    def _sample(self, request: Request) -> Generation:
        return replace(super()._sample(replace(request, max_tokens=1)), finish=Finish.STOP)


def test_what_is_invented_in_parts_is_seen() -> None:
    (eos,) = BYTES.eos_ids
    scripts = [script(text, BYTES, []) for text in ("```output\n41\n", "```output\n")]
    tasks = [Task(problem(), "free", index, BYTES.encode("Q"), 1) for index in range(2)]
    trajectories = rollout_scheduler(Halting(scripts, eos), FakeSandbox(), BYTES, CONFIG).run(tasks)
    assert [trajectory.fabricated_output for trajectory in trajectories] == [True, False]


def test_a_bare_error_is_what_the_policy_reads_and_the_record_keeps_the_message() -> None:
    failed = ExecutionResult(Status.ERROR, "", "NameError: name 'x' is not defined", 0.0)
    trajectory = one(CODE + REST, replace(CONFIG, errors="bare"), sandbox=FakeSandbox(lambda code: failed))
    assert shape(trajectory)[1] == ("tool", "\n```output\nerror\n```\n")
    assert trajectory.executions[0].result.error == failed.error


@pytest.mark.parametrize(
    ("boundary", "text"),
    [("exact", f"{CODE}\n"), ("post_hoc", f"{CODE} so<|end|>"), ("stop_string", f"{CODE}\n```output")],
)
def test_budget_holds_whatever_the_boundary(boundary: str, text: str) -> None:
    cfg = replace(CONFIG, boundary=boundary)
    for budget in (0, 1, 3):
        trajectory = one(text * 6 + "\\boxed{1}<|end|>", cfg, budget=budget)
        assert len(trajectory.executions) == budget
