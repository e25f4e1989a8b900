"""The invariants of a trajectory (docs/design.md) in every format and with several tokenizers and tools.

The policy is scripted; hypothesis writes its script from calls, parts of markup and text. Layout of the
sequences below; P is the policy's (mask 1), t the tool's (mask 0)::

    prompt | PPPPPPPPPPPPPPPPPP tt tttttttttttttt PPPPPPPPPP E
           | text <code>...     |  observation    text       end of text
                    ^ program   ^ injected part of a closing token that carried text beyond the call
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from src.config import RolloutConfig
from src.formats import Format, HermesFormat
from src.formats.base import RESULT
from src.policy.codec import TokenCodec
from src.rewards.answers import extract_answer
from src.rollout.scheduler import RolloutScheduler
from src.rollout.trajectory import Author, StopReason, Task, Trajectory
from src.sandbox import Status
from src.tools import Call, CallError, PythonTool, Toolbox
from tests.fakes import BPE, BYTES, FORMATS, FakeSandbox, ScriptedEngine, printed, problem
from tests.rollout.test_scheduler import script
from tests.small_tokenizers import coarse, qwen_like
from tests.tools.examples import Calculator, Lookup

CODECS: dict[str, Callable[[], TokenCodec]] = {
    "bytes": lambda: BYTES,
    "bpe": lambda: BPE,
    "coarse": coarse,
    "qwen_like": qwen_like,
}
PRINTED = ("42", "", "\\boxed{1}", "a" * 900)
CUT = 60  # characters of a result


class Setting(NamedTuple):
    """A format in one tokenizer, and whether results are turns of the chat template."""

    form: str
    codec: str
    chat: bool = False

    @property
    def eos(self) -> str:
        (eos,) = self.tokens.eos_ids
        return self.tokens.bytes_of(eos).decode()

    @property
    def tokens(self) -> TokenCodec:
        return CODECS[self.codec]()

    def make(self, sandbox: FakeSandbox | None) -> tuple[Format, Toolbox]:
        tools = [PythonTool(sandbox), Calculator(), Lookup(str(Path(__file__)))]
        form = FORMATS[self.form]() if not self.chat else HermesFormat()
        return form.prepare(tools, self.tokens.tokenizer, "chat" if self.chat else "plain"), Toolbox(tools)


SETTINGS = [Setting(form, codec) for form in sorted(FORMATS) for codec in CODECS]
SETTINGS += [Setting("hermes", codec, chat=True) for codec in ("coarse", "qwen_like")]


@cache
def fragments(setting: Setting) -> list[str]:
    """Whole calls of three tools, calls that cannot be made, parts of markup, and text."""
    form, _ = setting.make(None)
    calls = [
        Call("python", {"code": "print(6*7)"}),
        Call("python", {"code": "x = '\u4e2d'"}),
        Call("calculator", {"formula": "1+"}),
        Call("lookup", {"word": "x", "lines": 1}),
        Call("lookup", {"lines": 0}),
    ]
    whole = [form.write(call) for call in calls]
    results = ["".join(piece.text for piece in form.render(text)) for text in ("41", "")]
    markup = [part for tag in form.markup for part in (tag, tag[:-1], tag[len(tag) // 2 :])]
    rest = [
        "```python\n",
        "\n",
        "1",
        "print(",
        "\u4e2d",
        "\\boxed{7}",
        "So",
        "</",
        "{",
        "<think>",
        setting.eos,
    ]
    # three times, so that most scripts have calls
    return [*whole * 3, *(text + "So" for text in whole), *(text + "\n\n" for text in whole), *results,
            *markup, *rest]  # fmt: skip


@st.composite
def cases(draw: st.DrawFn) -> tuple[Setting, list[tuple[str, list[int]]]]:
    """A setting and, for up to four trajectories, a script and how its merges are undone."""
    setting = draw(st.sampled_from(SETTINGS))
    text = st.lists(st.sampled_from(fragments(setting)), min_size=1, max_size=12).map("".join)
    undone = st.lists(st.integers(0, 8), max_size=7)
    return setting, draw(st.lists(st.tuples(text, undone), min_size=1, max_size=4))


@settings(max_examples=600)
@given(
    cases(),
    st.sampled_from(["continue", "stop", "notice"]),
    st.integers(0, 3),
    st.integers(1, 400),
    st.one_of(st.sampled_from(PRINTED), st.integers(0, 10_000)),
    st.integers(0, 4),
    st.booleans(),
)
def test_invariants(
    case: tuple[Setting, list[tuple[str, list[int]]]],
    over_budget: str,
    budget: int,
    max_tokens: int,
    prints: str | int,
    overrun: int,
    streaming: bool,
) -> None:
    setting, turns = case
    codec = setting.tokens
    (eos,) = codec.eos_ids
    if isinstance(prints, int):  # the program prints markup
        known = fragments(setting)
        prints = known[prints % len(known)] + known[prints // 7 % len(known)]
    # What a tool prints is never the answer, but it may print what looks like one.
    prints = prints.replace("\\boxed{7}", "\\boxed{1}")
    sandbox = FakeSandbox(printed(prints))
    form, tools = setting.make(sandbox)
    scripts = [script(text, codec, chunks) for text, chunks in turns]
    engine = ScriptedEngine(
        scripts, eos, overrun=overrun, streaming=streaming, per_poll=2, logprobs=True
    )  # fmt: skip
    cfg = RolloutConfig(over_budget=over_budget, max_tokens=max_tokens, feedback_chars=CUT)
    tasks = [Task(problem(), "free", i, codec.encode(f"Q{i}\n"), budget) for i in range(len(scripts))]
    try:
        trajectories = RolloutScheduler(engine, tools, form, codec, cfg).run(tasks)
    finally:
        tools.close()
    for index, trajectory in enumerate(trajectories):
        assert trajectory.stop_reason is not None
        assert len(trajectory.completion_ids) <= max_tokens
        check_tokens_and_mask(trajectory, engine, index)
        told = observations(trajectory, form, codec)
        check_calls(trajectory, told, form, over_budget)
        cut = trajectory.stop_reason is StopReason.LENGTH and not trajectory.mask[-1]
        check_results(told[:-1] if cut else told, form, codec)
        # Answers from the policy only: whatever tools said, it wrote \boxed{7} alone.
        assert extract_answer(trajectory.policy_texts, form.spans) in (None, "7")


def check_tokens_and_mask(trajectory: Trajectory, engine: ScriptedEngine, index: int) -> None:
    """Token identity: contexts are prefixes; mask: 1 exactly at sampled tokens, each with its logprob."""
    ids, mask, logprobs = trajectory.completion_ids, trajectory.mask, trajectory.logprobs
    assert logprobs is not None
    assert len(ids) == len(mask) == len(logprobs)
    prompt = len(trajectory.task.prompt_ids)
    exchanges = [(context, g) for request, context, g in engine.log if request.id == index]
    starts = [len(context) - prompt for context, _ in exchanges] + [len(ids)]
    expected, dropped = [0] * len(ids), 0
    for (context, generation), at, end in zip(exchanges, starts, starts[1:], strict=False):
        assert (trajectory.task.prompt_ids + ids)[: len(context)] == context
        kept = 0
        while kept < len(generation.token_ids) and at + kept < end and mask[at + kept]:
            assert ids[at + kept] == generation.token_ids[kept]
            assert logprobs[at + kept] == generation.logprobs[kept]  # type: ignore[index]
            expected[at + kept] = 1
            kept += 1
        dropped += len(generation.token_ids) - kept
    assert mask == expected
    assert all(value == 0.0 for value, sampled in zip(logprobs, mask, strict=True) if not sampled)
    assert dropped == trajectory.dropped_tokens


class Observation(NamedTuple):
    """The text before it, injected bytes of a closing token included; its own text and ids."""

    written: str
    text: str
    ids: list[int]


def observations(trajectory: Trajectory, form: Format, codec: TokenCodec) -> list[Observation]:
    """Return what tools said, in order; the last may be cut by the token limit."""
    head = codec.text(rendered(form, codec, "@")).partition("@")[0].lstrip("\n")
    found: list[Observation] = []
    written = ""
    for segment in trajectory.segments:
        injected, begun, rest = segment.text.partition(head)
        if segment.author is Author.POLICY or not begun:
            written += segment.text
        else:
            found.append(Observation(written + injected.removesuffix("\n"), begun + rest, segment.token_ids))
            written = ""
    return found


def rendered(form: Format, codec: TokenCodec, text: str) -> list[int]:
    """Ids of a result."""
    return [token for piece in form.render(text) for token in codec.encode_piece(piece)]


def check_calls(trajectory: Trajectory, told: list[Observation], form: Format, over_budget: str) -> None:
    """Budget, and boundary: what ran is the first call in the text before its result."""
    executions = trajectory.executions
    assert len(executions) <= trajectory.task.budget
    notices = sum("budget" in one.text for one in told)
    assert notices <= (over_budget == "notice")
    # An observation that the token limit cut may have lost its head.
    cut = trajectory.stop_reason is StopReason.LENGTH and not trajectory.mask[-1]
    assert len(executions) - (len(told) - notices) in ((-1, 0, 1) if cut else (0,))
    for execution, observation in zip(executions, told, strict=False):
        scanner = form.scanner()
        written = observation.written.encode()
        end = scanner.feed(written)
        assert end is not None
        assert written[end:] in (b"", b"\n")
        try:
            assert form.parse(scanner.call) == execution.call
        except CallError:
            assert execution.call.arguments == {"text": scanner.call.body}
            assert execution.result.status is Status.ERROR


def check_results(told: list[Observation], form: Format, codec: TokenCodec) -> None:
    """Safety: an observation is one result, with the control tokens of an empty one and no other."""
    special = set(codec.tokenizer.all_special_ids)
    control = [token for token in rendered(form, codec, "") if token in special]
    tail = codec.text(rendered(form, codec, "@")).partition("@")[2]
    for one in told:
        (span,) = form.spans(one.text)[:1]
        assert span.kind == RESULT
        assert [other.kind for other in form.spans(one.text)] == [RESULT]
        assert tail.endswith(one.text[span.end :])
        assert [token for token in one.ids if token in special] == control
