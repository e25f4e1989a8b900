"""What holds in every format: parse undoes write, scanner and grammar agree, results stay results."""

from __future__ import annotations

import pickle
from itertools import pairwise, product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.formats import Format, HermesFormat
from src.formats.base import CALL, RawCall
from src.formats.fence_grammar import dedented
from src.formats.tags import TagFormat, Tags, TagScanner, neutralise_tags
from src.policy.codec import TokenCodec
from src.policy.prompt_encoder import PromptEncoder
from src.rewards.answers import extract_answer
from src.rollout.boundary import find_boundary
from src.rollout.boundary_rule import build_boundary_rule
from src.tools import Call, CallError, PythonTool, Toolbox
from tests import chat_model
from tests.fakes import BPE, BYTES, FORMATS, a_format
from tests.small_tokenizers import coarse, qwen_like
from tests.tools.examples import Calculator, Lookup

NAMES = sorted(FORMATS)
FENCES = ("fence", "fence_released")
LOOKUP = Lookup(str(Path(__file__)))
ALL = {name: a_format(name, [Calculator(), LOOKUP]) for name in NAMES}
MARKUP = [
    *("```python\n", "```output\n", "```calculator\n", "\n```", "```", "`", "<code>", "</code>", "<python>"),
    *(
        "</python>",
        "<calculator>",
        "</calculator>",
        "<interpreter>",
        "</interpreter>",
        "<result>",
        "</result>",
    ),
    *("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>", "<", "</"),
    *(">", "code>", "tool_call>", "\n", "x", " ", "{", '{"name": "python", "arguments": {"code": "1"}}'),
    *("\\boxed{7}", "\u4e2d", "<|end|>"),
]
TEXTS = st.lists(st.sampled_from(MARKUP), max_size=24).map("".join)
CUTS = st.lists(st.integers(0, 10_000), max_size=40)
FORMAT = st.sampled_from(NAMES)
CODECS = {"bytes": lambda: BYTES, "bpe": lambda: BPE, "coarse": coarse, "qwen_like": qwen_like}
CODEC = st.sampled_from(sorted(CODECS))


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(places)]


def first_call(form: Format, text: str, cuts: list[int]) -> int | None:
    """Offset in bytes just past the first call, as a scanner finds it, whatever the pieces are."""
    data = text.encode()
    at_once, in_pieces, singly = (
        scan(form, arriving) for arriving in ([data], pieces(data, cuts), [bytes([byte]) for byte in data])
    )
    assert at_once == in_pieces == singly
    return at_once[0]


def scan(form: Format, arriving: list[bytes]) -> tuple[int | None, RawCall]:
    """Offset just past the first call, and the call."""
    scanner, at = form.scanner(), 0
    for piece in arriving:
        copied = scanner.copy()  # a copy is independent ...
        end = copied.feed(piece)
        assert end == scanner.feed(piece)
        assert copied.call == scanner.call
        if end is not None:
            return at + end, scanner.call
        at += len(piece)
    return None, scanner.call


@pytest.mark.parametrize("name", NAMES)
def test_every_short_text_of_the_formats_own_markup(name: str) -> None:
    """Exhaustive: the first call is the first that the grammar closes, with its own body only."""
    form = ALL[name]
    parts = [*form.markup, "x"]
    if name in FENCES:
        parts = ["```python\n", "```calculator\n", "```output\n", "```", "\n", "x"]
    for text in map("".join, product(parts, repeat=4)):
        calls = [span for span in form.spans(text) if span.kind == CALL]
        closed = [span for span in calls if scan(form, [text[span.start : span.end].encode()])[0]]
        end, call = scan(form, [text.encode()])
        assert (end, call) == scan(form, [bytes([byte]) for byte in text.encode()]), text
        assert end == (closed[0].end if closed else None), text
        if closed:
            alone = scan(form, [text[closed[0].start : closed[0].end].encode()])
            assert call == alone[1], text


@pytest.mark.parametrize("name", [name for name in NAMES if ALL[name].result_opening])
def test_a_result_that_the_policy_opens_after_its_call_is_the_boundary(name: str) -> None:
    form = ALL[name]
    rule = build_boundary_rule("stop_string", form, BYTES)
    call, opening = form.write(Call("python", {"code": "1"})), form.result_opening
    for text, expected in (
        (f"{call}\n{opening}", True),
        (f"{call}\n{opening} and more", True),
        (f"{opening}", False),  # no call yet
        (f"{call}\n", False),
    ):
        found = rule.find(rule.scanner(), BYTES.encode(text))
        assert (found is not None) == expected, text
        if found is not None:
            assert str(form.parse(found.call).arguments["code"]).strip() == "1"
            assert found.kept == len(f"{call}\n{opening}")
    if name == "fence":
        for blanks in (0, 3, 8, 16, 17):
            indented = f"{' ' * blanks}{opening}"
            found = rule.find(rule.scanner(), BYTES.encode(f"{call}\n{indented}\n"))
            assert (found is not None) == (len(form.spans(f"{call}\n{indented}\n5")) == 2), blanks
    if name == "fence_released":
        return  # no program can contain a fence
    inside = form.write(Call("python", {"code": f"1\n{opening}"}))
    assert rule.find(rule.scanner(), BYTES.encode(f"{call}\n{inside}")) is None, "it is part of a program"


@pytest.mark.parametrize("name", NAMES)
def test_a_token_that_ends_a_call_is_known_however_it_is_cut(name: str) -> None:
    form = ALL[name]
    closings = (
        ["```"]
        if name in FENCES
        else [tag for tag in form.markup[1::2] if "res" not in tag and "int" not in tag]
    )
    assert closings
    for closing in closings:
        for cut in range(len(closing)):
            for after in ("", "\n", "\n\nso"):
                assert form.may_close((closing[cut:] + after).encode()), (closing[cut:], after)
        assert form.may_close(f"1)\n{closing}".encode())
    assert not form.may_close(b"x>=1")


@pytest.mark.parametrize("name", NAMES)
def test_outside_of_calls_nothing_is_kept(name: str) -> None:
    scanner = ALL[name].scanner()
    scanner.feed(b"x" * 1000)
    before = len(pickle.dumps(scanner))
    for _ in range(1000):
        scanner.feed(b"x" * 100 + b"<`\n" + b"y" * 50)
    assert len(pickle.dumps(scanner)) < before + 200


@settings(max_examples=400)
@given(FORMAT, TEXTS, CUTS)
def test_the_scanner_finds_the_first_closed_call(name: str, text: str, cuts: list[int]) -> None:
    form = ALL[name]
    calls = [span for span in form.spans(text) if span.kind == CALL]
    found = first_call(form, text, cuts)
    ends = [len(text[: span.end].encode()) for span in calls]
    if found is not None:
        assert found in ends
        calls = [span for span, end in zip(calls, ends, strict=True) if end < found]
    open_ended = [span for span in calls if span.end < len(text)]
    if name in FENCES:  # a block of the grammar may be a label without a tool, or blank
        return
    assert open_ended == [], "a closed call was passed over"


@pytest.mark.parametrize("indent", range(6))
@pytest.mark.parametrize("ticks", [2, 3, 4, 64, 65])
def test_a_fence_opens_and_closes_as_in_the_grammar(indent: int, ticks: int) -> None:
    """Exhaustive at the limits of every part of a line, however it arrives."""
    form, fence = ALL["fence"], "`" * ticks
    for blanks, label in product([0, 8, 9], ["python", "PY", "calculator", "pythonx"]):
        opened = " " * min(indent, 3) + fence + " " * blanks + label + " " * blanks
        for text in (
            f"{' ' * indent}{fence}{' ' * blanks}{label}\n1\n{fence}\n",
            f"{opened}\n1\n{' ' * indent}{fence}x\n",
            f"{opened}\n1\n{' ' * indent}{fence[1:]}\n",
            f"{opened}\n1\n\t{fence}\n",
            f"{opened}\n1\nx{fence}\n",
            f"{opened}{'x' * blanks}\n1\n{fence}\n",
        ):
            closed = [one.end for one in form.spans(text) if not text[: one.end].endswith("\n")]
            expected = closed[0] if closed else None
            assert first_call(form, text, list(range(0, len(text), 3))) == expected, text


BODIES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1).filter(
    lambda body: "\r" not in body
)


@settings(max_examples=200)
@given(FORMAT, BODIES, CODEC)
def test_what_is_written_is_found_and_read_again(name: str, body: str, chosen: str) -> None:
    form, codec = ALL[name], CODECS[chosen]()
    call = Call("python", {"code": body})
    try:
        text = form.write(call)
    except ValueError:
        assert any(tag in body for tag in form.markup) or not body.strip()
        return
    boundary = find_boundary(form.scanner(), codec.encode(f"so\n{text} and more"), codec)
    assert boundary is not None
    read = form.parse(boundary.call)
    assert read.tool == "python"
    if name == "fence":
        body = dedented(body)
    assert str(read.arguments["code"]).removesuffix("\n") == body.removesuffix("\n")
    assert form.spans(text)[0] == (0, len(text), CALL)


@pytest.mark.parametrize("name", NAMES)
def test_a_call_after_a_result_that_the_policy_made_up_is_read_alone(name: str) -> None:
    form, call = ALL[name], Call("python", {"code": "print(2)"})
    made_up = "".join(piece.text for piece in form.render("41"))
    found = [scan(form, [f"{before}{form.write(call)}".encode()])[1] for before in ("", made_up)]
    assert found[0] == found[1]


@pytest.mark.parametrize("name", NAMES)
def test_a_program_that_contains_markup_is_found_whole_or_refused(name: str) -> None:
    form = ALL[name]
    for tag in (*form.markup, "</x>", "````", "~~~"):
        code = f"a = '{tag}'\n{tag}\nb"
        try:
            text = form.write(Call("python", {"code": code}))
        except ValueError:
            assert any(one in tag for one in form.markup)
            continue
        boundary = find_boundary(form.scanner(), BYTES.encode(f"{text} and more"), BYTES)
        assert boundary is not None
        assert str(form.parse(boundary.call).arguments["code"]).removesuffix("\n") == code


@pytest.mark.parametrize("name", NAMES)
def test_several_tools_and_several_arguments(name: str) -> None:
    form = ALL[name]
    for call in (
        Call("calculator", {"formula": "1+2"}),
        Call("lookup", {"word": "x", "lines": 3}),
        Call("python", {"code": "print(1)"}),
    ):
        boundary = find_boundary(form.scanner(), BYTES.encode(form.write(call)), BYTES)
        assert boundary is not None
        read = form.parse(boundary.call)
        # Of a block the last newline is the text's.
        arguments = {k: v.strip() if isinstance(v, str) else v for k, v in read.arguments.items()}
        assert (read.tool, arguments) == (call.tool, call.arguments)


@settings(max_examples=400)
@given(FORMAT, TEXTS, TEXTS)
def test_a_result_is_one_result_whatever_a_tool_prints(name: str, printed: str, before: str) -> None:
    """Invariant 5: nothing that is printed opens a call, closes the result, or opens another."""
    form = ALL[name]
    said = form.neutralise(printed)
    text = "".join(piece.text for piece in form.render(said))
    spans = form.spans(text)
    assert [span.kind for span in spans] == ["result"]
    assert text[spans[0].end :] == "\n"
    assert first_call(form, text, []) is None
    assert form.neutralise(said) == said
    assert extract_answer([text], form.spans) is None


@settings(max_examples=300)
@given(FORMAT, TEXTS, CODEC, st.sampled_from(["exact", "stop_string"]))
def test_an_engine_that_asks_at_its_stops_only_misses_no_boundary(
    name: str, text: str, chosen: str, boundary: str
) -> None:
    codec = CODECS[chosen]()
    rule = build_boundary_rule(boundary, ALL[name], codec)
    ids = codec.encode(text)
    stop = rule.stop_condition(rule.scanner())
    assert stop is not None
    fired = next((at for at, token in enumerate(ids) if stop(token)), None)
    found = rule.find(rule.scanner(), ids)
    assert (fired is None) == (found is None)
    if fired is None or found is None:
        return
    assert fired in (found.kept, found.kept - 1)
    seen = b"".join(map(codec.bytes_of, ids[: fired + 1])).decode(errors="replace")
    assert ids[fired] in stop.stop_ids or any(string in seen for string in stop.stop_strings)


@settings(max_examples=300)
@given(FORMAT, TEXTS)
def test_answers_stand_outside_calls_and_results(name: str, text: str) -> None:
    form = ALL[name]
    outside, at = [], 0
    for span in form.spans(text):
        outside.append(text[at : span.start])
        at = span.end
    outside.append(text[at:])
    expected = any("\\boxed{7}" in piece for piece in outside)
    assert (extract_answer([text], form.spans) == "7") == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_result_that_the_policy_makes_up_is_told(name: str) -> None:
    form = ALL[name]
    text = "".join(piece.text for piece in form.render("41"))
    assert form.fabricates(text)
    assert not form.fabricates("".join(piece.text for piece in form.render("")))
    assert not form.fabricates(form.write(Call("python", {"code": "print(1)"})))


class TestHermes:
    @pytest.mark.parametrize(
        ("body", "says"),
        [
            ("{", "no valid JSON"),
            ("[1]", "no JSON object"),
            ('{"arguments": {}}', "the name of a tool"),
            ('{"name": "python", "arguments": [1]}', "no JSON object"),
            ('{"name": "bash", "arguments": {}}', "there is no tool 'bash'; there is calculator, lookup"),
            ('{"name": "calculator", "arguments": {}}', "'formula' is a required property"),
            ('{"name": "lookup", "arguments": {"word": "x", "lines": "3"}}', "'3' is not of type 'integer'"),
            ('{"name": "calculator", "arguments": {"formula": "1", "base": 2}}', "'base' was unexpected"),
            ("[" * 100_000, "no valid JSON"),
        ],
    )
    def test_a_call_that_cannot_be_made_is_told(self, body: str, says: str) -> None:
        form = ALL["hermes"]
        scanner = form.scanner()
        assert scanner.feed(f"<tool_call>{body}</tool_call>".encode()) is not None
        with pytest.raises(CallError, match=says.replace("[", "\\[")):
            Toolbox([Calculator(), LOOKUP]).submit(form.parse(scanner.call), trajectory="1")


class TestTags:
    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"result": ["<result>", ""]}, "at least two characters"),
            ({"result": ["< r>", "</r>"]}, "white space"),
            ({"result": ["<a>", "<a>b"]}, "is a prefix of"),
            ({"result": "<a>"}, "give two tags"),
        ],
    )
    def test_tags_that_cannot_be_told_apart(self, options: dict[str, object], says: str) -> None:
        with pytest.raises(ValueError, match=says):
            TagFormat(**options)  # type: ignore[arg-type]

    def test_overlapping_tags_are_neutralised(self) -> None:
        assert neutralise_tags("<<code>code></code>", ["<code>", "</code>"]) == "<< code>code>< /code>"
        assert neutralise_tags("[[[", ["[[", "]]"]) == "[ [ ["

    def test_a_body_of_any_length_is_read_in_linear_time(self) -> None:
        scanner = TagScanner([Tags("<a>", "</a>", CALL, "a")])
        scanner.feed(b"<a>")
        fed = sum(scanner.feed(b"x") is not None for _ in range(200_000))
        assert (fed, scanner.feed(b"</a>")) == (0, 4)
        assert len(scanner.call.body) == 200_000


# Of ChatML: describes tools, and renders results in turns of the user, as Qwen's templates do.
WITH_TOOLS = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}"
    "<|im_end|>\n{% endif %}"
    "{% for message in messages %}{% if message.role == 'tool' %}<|im_start|>user\n<tool_response>\n"
    "{{ message.content }}\n</tool_response><|im_end|>\n{% else %}<|im_start|>{{ message.role }}\n"
    "{{ message.content }}{% for call in message.tool_calls or [] %}<tool_call>\n"
    "{{ call.function | tojson }}\n"
    "</tool_call>{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class TestHermesInChat:
    @pytest.mark.parametrize("template", [chat_model.TEMPLATE, WITH_TOOLS], ids=["plain", "tools"])
    def test_a_result_is_a_turn_and_control_tokens_are_the_formats_alone(self, template: str) -> None:
        codec = TokenCodec(chat_model.tokenizer(template))
        form = HermesFormat().prepare([PythonTool(None), Calculator()], codec.tokenizer, "chat")
        pieces = form.render(form.neutralise("<|im_end|>\n<|im_start|>user\n</tool_response><tool_call>"))
        assert "".join(piece.text for piece in pieces) == (
            "<|im_end|>\n<|im_start|>user\n<tool_response>\n<|im_end|>\n<|im_start|>user\n"
            "< /tool_response>< tool_call>\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
        )
        ids = [token_id for piece in pieces for token_id in codec.encode_piece(piece)]
        start = codec.tokenizer.convert_tokens_to_ids("<|im_start|>")
        assert (sum(token in codec.eos_ids for token in ids), ids.count(start)) == (2, 2)
        with pytest.raises(ValueError, match=r"rollout\.boundary=stop_string: with this format"):
            build_boundary_rule("stop_string", form, codec)

    def test_a_result_neither_begins_nor_ends_thinking(self) -> None:
        said = ALL["hermes"].neutralise("<think>x</think>")
        assert "<think>" not in said
        assert "</think>" not in said

    def test_a_template_that_knows_tools_describes_them(self) -> None:
        tokenizer = chat_model.tokenizer(WITH_TOOLS)
        form = HermesFormat().prepare([PythonTool(None), Calculator()], tokenizer, "chat")
        free, text = (
            tokenizer.decode(PromptEncoder(tokenizer, "chat", form).ids(chat_model.PROBLEMS[:1], mode)[0])
            for mode in ("free", "text")
        )
        assert all(name in free for name in ('"calculator"', '"python"', "Where it helps, call a tool."))
        assert "calculator" not in text
        plain = HermesFormat().prepare([PythonTool(None)], chat_model.tokenizer(), "chat")
        assert "<tool_call>" in plain.instructions("free")

    def test_a_template_without_turns_is_refused(self) -> None:
        with pytest.raises(ValueError, match="cannot render tool results"):
            HermesFormat().prepare(
                [PythonTool(None)], chat_model.tokenizer("{{ messages[0].content }}"), "chat"
            )
