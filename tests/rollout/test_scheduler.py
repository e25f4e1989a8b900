"""Budgets, stop reasons and limits of a trajectory, with scripted policies."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import strategies as st

from src.config import RolloutConfig
from src.policy.codec import TokenCodec
from src.rollout.trajectory import Author, StopReason, Task, Trajectory
from src.sandbox import ExecutionResult, Status
from tests.fakes import BPE, BYTES, FakeSandbox, ScriptedEngine, problem, rollout_scheduler

CONFIG = RolloutConfig(max_tokens=400)
CODE = "```python\nprint(6*7)\n```"

FRAGMENTS = st.sampled_from(
    ["```python\n", "```py\n", "```output\n", "```", "```\n\n", "``", "\n", "1", "print('```')\n", "\u4e2d",
     "\\boxed{7}", "\n```\n", "\n```x", ")\n```", "<|end|>"]
)  # fmt: skip


def script(text: str, codec: TokenCodec, chunks: list[int]) -> list[int]:
    """Ids of ``text``, control tokens included, with some merges undone: a random segmentation."""
    ids: list[int] = codec.tokenizer(text, add_special_tokens=False)["input_ids"]
    split = []
    for index, token in enumerate(ids):
        if chunks and token not in codec.eos_ids and chunks[index % len(chunks)] % 3 == 0:
            split += codec.encode_bytes(codec.bytes_of(token)[:1]) + (
                codec.encode_bytes(codec.bytes_of(token)[1:]) if len(codec.bytes_of(token)) > 1 else []
            )
        else:
            split.append(token)
    return split


def run(
    texts: list[list[int]],
    codec: TokenCodec,
    cfg: RolloutConfig = CONFIG,
    *,
    budget: int = 2,
    sandbox: FakeSandbox | None = None,
    **engine: object,
) -> tuple[list[Trajectory], ScriptedEngine]:
    (eos,) = codec.eos_ids
    scripted = ScriptedEngine(texts, eos, **engine)  # type: ignore[arg-type]
    tasks = [Task(problem(), "free", i, codec.encode(f"Q{i}\n"), budget) for i in range(len(texts))]
    scheduler = rollout_scheduler(scripted, sandbox or FakeSandbox(), codec, cfg)
    return scheduler.run(tasks), scripted


def one(text: str, cfg: RolloutConfig = CONFIG, **options: object) -> Trajectory:
    codec = options.pop("codec", BYTES)
    (trajectory,), _ = run([script(text, codec, [])], codec, cfg, **options)  # type: ignore[arg-type]
    return trajectory


def shape(trajectory: Trajectory) -> list[tuple[str, str]]:
    return [(str(segment.author), segment.text) for segment in trajectory.segments]


@pytest.mark.parametrize("codec", [BYTES, BPE], ids=["bytes", "bpe"])
def test_one_execution(codec: TokenCodec) -> None:
    sandbox = FakeSandbox()
    trajectory = one(f"So\n{CODE}\\boxed{{42}}<|end|>", codec=codec, sandbox=sandbox)
    assert shape(trajectory) == [
        ("policy", f"So\n{CODE}"),
        ("tool", "\n```output\n42\n```\n"),
        ("policy", "\\boxed{42}"),
    ]
    assert sandbox.ran == ["print(6*7)\n"]
    assert trajectory.stop_reason is StopReason.ANSWERED
    assert trajectory.completion_ids[-1] in codec.eos_ids
    assert trajectory.mask[-1] == 1


def test_token_that_carries_text_beyond_the_fence_is_replaced_by_masked_tokens() -> None:
    closing = BPE.tokenizer.convert_tokens_to_ids("\u010a```x")
    ids = [*BPE.encode("```python\nprint(1"), closing, *BPE.encode("abc\\boxed{42}"), *BPE.eos_ids]
    (trajectory,), _ = run([ids], BPE, overrun=3)
    assert shape(trajectory)[:2] == [
        ("policy", "```python\nprint(1"),
        ("tool", "\n```\n```output\n42\n```\n"),
    ]
    assert shape(trajectory)[2] == ("policy", "\\boxed{42}")
    assert trajectory.dropped_tokens == 4  # the closing token, and three of the overrun
    assert trajectory.executions[0].code == "print(1\n"


def test_end_of_text_right_after_a_fence_is_dropped_and_the_program_runs() -> None:
    trajectory = one(f"{CODE}<|end|>\\boxed{{42}}<|end|>", overrun=1)
    assert trajectory.dropped_tokens == 1
    assert len(trajectory.executions) == 1
    assert trajectory.stop_reason is StopReason.ANSWERED


BLOCKS = f"{CODE}{CODE}{CODE}\n\\boxed{{42}}<|end|>"


def test_over_budget_continue_runs_no_further_code_and_cuts_nothing() -> None:
    text = f"{CODE}\n{CODE}\nso \\boxed{{42}}<|end|>"
    trajectory = one(text, budget=1)
    assert len(trajectory.executions) == 1
    assert shape(trajectory)[2:] == [("policy", f"\n{CODE}\nso \\boxed{{42}}")]
    assert trajectory.stop_reason is StopReason.ANSWERED


def test_over_budget_stop() -> None:
    trajectory = one(BLOCKS, replace(CONFIG, over_budget="stop"), budget=2)
    assert len(trajectory.executions) == 2
    assert trajectory.stop_reason is StopReason.BUDGET
    assert shape(trajectory)[-1] == ("policy", CODE)


def test_over_budget_notice_says_so_once() -> None:
    trajectory = one(
        f"{CODE}{CODE}\n{CODE}\n\\boxed{{42}}<|end|>", replace(CONFIG, over_budget="notice"), budget=1
    )
    said = [text for author, text in shape(trajectory) if author == "tool"]
    assert ["budget" in text for text in said] == [False, True]
    assert len(trajectory.executions) == 1


def test_budget_of_zero_runs_nothing() -> None:
    sandbox = FakeSandbox()
    one(BLOCKS, budget=0, sandbox=sandbox)
    assert sandbox.ran == []


def test_tools_off_is_the_text_arm() -> None:
    trajectory = one(f"{CODE}\n\\boxed{{42}}<|end|>", replace(CONFIG, tools=False))
    assert shape(trajectory) == [("policy", f"{CODE}\n\\boxed{{42}}")]
    assert trajectory.mask == [1] * len(trajectory.mask)


def test_bare_fence_ends_nothing() -> None:
    trajectory = one("```\nprint(1)\n```\n\\boxed{1}<|end|>")
    assert len(trajectory.segments) == 1
    assert not trajectory.executions


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("\\boxed{1}<|end|>", StopReason.ANSWERED),
        ("I do not know<|end|>", StopReason.VOID),
        (f"{CODE}{CODE}{CODE}no answer<|end|>", StopReason.NO_ANSWER),  # the last one is beyond the budget
        (f"{CODE}\\boxed{{1}}{CODE}{CODE}<|end|>", StopReason.ANSWERED),
        (f"\\boxed{{1}}\n{CODE}{CODE}nothing more<|end|>", StopReason.VOID),
        (f"{CODE}no answer<|end|>", StopReason.VOID),
        ("a" * 500, StopReason.LENGTH),
    ],
)
def test_stop_reasons(text: str, reason: StopReason) -> None:
    assert one(text).stop_reason is reason


def test_feedback_that_does_not_fit_is_cut_and_the_trajectory_ends() -> None:
    trajectory = one(f"{CODE}more", replace(CONFIG, max_tokens=30), codec=BYTES)
    assert trajectory.stop_reason is StopReason.LENGTH
    assert len(trajectory.completion_ids) == 30
    assert shape(trajectory)[1] == ("tool", "\n```output\n"[: 30 - len(CODE)])


def test_infrastructure_failure_ends_the_trajectory_and_is_no_execution_of_the_model() -> None:
    lost = ExecutionResult(Status.INFRASTRUCTURE, "", "worker died twice", 0.0)
    trajectory = one(BLOCKS, sandbox=FakeSandbox(lambda code: lost))
    assert trajectory.stop_reason is StopReason.INFRASTRUCTURE
    assert not trajectory.executions[0].failed
    assert trajectory.segments[-1].author is Author.POLICY


@pytest.mark.parametrize("streaming", [False, True])
def test_each_feedback_goes_to_its_own_trajectory_whatever_the_order(streaming: bool) -> None:
    """Programs finish on other threads, in any order; results must not be mixed up."""
    texts = [f"```python\nprint({i})\n```\\boxed{{{i}}}<|end|>" for i in range(40)]
    sandbox = FakeSandbox(
        lambda code: ExecutionResult(Status.OK, code.split("(")[1][:-2], None, 0.0), delay=0.01
    )
    trajectories, _ = run(
        [script(text, BPE, []) for text in texts], BPE, sandbox=sandbox, streaming=streaming, per_poll=3
    )
    for index, trajectory in enumerate(trajectories):
        assert trajectory.segments[1].text == f"\n```output\n{index}\n```\n"
        assert trajectory.task.sample == index


def test_sequence_after_an_error_of_the_sandbox_leaves_nothing_behind() -> None:
    class Broken(FakeSandbox):
        def submit(self, code: str, **options):  # type: ignore[no-untyped-def]
            raise RuntimeError("closed")

    (eos,) = BPE.eos_ids
    engine = ScriptedEngine([script(BLOCKS, BPE, []), script("x" * 300, BPE, [])], eos, per_poll=1)
    scheduler = rollout_scheduler(engine, Broken(), BPE, CONFIG)
    tasks = [Task(problem(), "free", i, BPE.encode("Q"), 2) for i in range(2)]
    with pytest.raises(RuntimeError, match="closed"):
        scheduler.run(tasks)
    assert engine.pending == 0


def test_tools_need_a_sandbox() -> None:
    with pytest.raises(ValueError, match=r"rollout\.tools"):
        rollout_scheduler(ScriptedEngine([], 0), None, BPE, CONFIG)
