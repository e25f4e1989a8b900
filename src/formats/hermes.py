"""Tool calls as JSON between ``<tool_call>`` tags, as Qwen2.5 and Qwen3 are trained to write them.

Results are put in the tool turn of the chat template, between control tokens that only this format writes;
without a chat template they follow as text. A template that supports tools describes them in the prompt
itself. Otherwise as in src.formats.tags: a call ends at the next ``</tool_call>``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Self

from src.formats.base import CALL, RESULT, Call, CallError, Piece, RawCall, Tool, json_object
from src.formats.tags import BlockFormat, Tags

_CALL = Tags("<tool_call>", "</tool_call>", CALL)
_RESULT = Tags("<tool_response>", "</tool_response>", RESULT)
_MARK = "RESULT-OF-THE-TOOL"


class HermesFormat(BlockFormat):
    """See src.formats.base.Format."""

    further_tags = ("<think>", "</think>")  # a result must not close the policy's thinking block

    def __init__(self) -> None:
        super().__init__()
        self._before, self._after = f"\n{_RESULT.open}\n", f"\n{_RESULT.close}\n"
        self._chat = self._template_knows_tools = False
        self._use((_CALL, _RESULT))

    def prepare(self, tools: Sequence[Tool], tokenizer: Any, style: str) -> Self:
        """See Format."""
        super().prepare(tools, tokenizer, style)
        self._chat = style.startswith("chat")
        if self._chat:
            options = {"enable_thinking": False} if style == "chat_without_thinking" else {}
            self._before, self._after = _turn(tokenizer, options)
            self._template_knows_tools = _describes_tools(tokenizer)
            self.result_opening = None
        return self

    def instructions(self, mode: str) -> str:
        """See Format."""
        if mode == "text" or not self._template_knows_tools:
            return super().instructions(mode)
        return (
            "Where it helps, call a tool."
            if mode == "free"
            else "Call a tool. Base the answer on its output."
        )

    def template_tools(self, mode: str) -> list[dict[str, Any]] | None:
        """See Format."""
        if mode == "text" or not self._template_knows_tools:
            return None
        return [_schema(tool) for tool in self.tools.values()]

    def explain(self, tool: Tool) -> str:
        """See Format."""
        return (
            f'to call {tool.name}, write {{"name": "{tool.name}", "arguments": {{...}}}} between '
            f"{_CALL.open} and {_CALL.close}, and its result is shown to you between {_RESULT.open} and "
            f"{_RESULT.close}. {tool.description} JSON schema of its arguments: {json.dumps(tool.parameters)}"
        )

    def parse(self, raw: RawCall) -> Call:
        """See Format."""
        found = json_object(raw.body, "the name and arguments of a call")
        name, arguments = found.get("name"), found.get("arguments", {})
        if not isinstance(name, str):
            raise CallError('a call needs the name of a tool: {"name": ..., "arguments": {...}}')
        if not isinstance(arguments, dict):
            raise CallError(f"the arguments of {name} are no JSON object")
        return Call(name, arguments)

    def write(self, call: Call) -> str:
        """See Format."""
        body = json.dumps({"name": call.tool, "arguments": dict(call.arguments)}, ensure_ascii=False)
        return f"{_CALL.open}\n{body.replace('</', '<' + chr(92) + '/')}\n{_CALL.close}"

    def render(self, text: str, *, after_newline: bool = False, opened: bool = False) -> list[Piece]:
        """See Format."""
        if self._chat:
            return [Piece(self._before, control=True), Piece(text), Piece(self._after, control=True)]
        before = self._before.removeprefix("\n") if after_newline else self._before
        if opened:
            before = before.removesuffix(f"{_RESULT.open}\n")
        return [Piece(before + text + self._after)]


def _schema(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}


def _describes_tools(tokenizer: Any) -> bool:
    """Whether the chat template adds the given tools to the prompt."""
    tool = {"name": "zebra_tool", "description": "zebra", "parameters": {"type": "object", "properties": {}}}
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "?"}], tools=[{"type": "function", "function": tool}], tokenize=False
    )
    return "zebra_tool" in text


def _turn(tokenizer: Any, options: dict[str, Any]) -> tuple[str, str]:
    """Return the template's text between a call and its result, and between the result and the next turn.

    Raises:
        ValueError: the template cannot render a result.
    """
    call = {"type": "function", "function": {"name": "python", "arguments": {"code": "1"}}}
    prompt = [{"role": "user", "content": "?"}]
    ways: list[tuple[list[dict[str, Any]], str]] = [
        (
            [
                *prompt,
                {"role": "assistant", "content": "", "tool_calls": [call]},
                {"role": "tool", "name": "python", "content": _MARK},
            ],
            _CALL.close,
        ),
        # A template without tool support: the result is a user turn, which is also how Qwen renders it.
        (
            [
                *prompt,
                {"role": "assistant", "content": _CALL.close},
                {"role": "user", "content": f"{_RESULT.open}\n{_MARK}\n{_RESULT.close}"},
            ],
            _CALL.close,
        ),
    ]
    for messages, end in ways:
        try:
            text = tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=False, **options
            )
        except Exception:  # jinja's, or any error that a template raises for an unknown role
            continue
        head, mark, after = text.rpartition(_MARK)
        _, call_end, before = head.rpartition(end)
        if mark and call_end and _RESULT.open in before:
            return before, after
    raise ValueError("format=hermes: the chat template cannot render tool results; use format=fence or tags")
