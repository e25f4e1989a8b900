"""Prompts of every style and mode."""

from __future__ import annotations

import pytest

from src.problems import Problem
from src.problems.prompt_text import MODES, STYLES, build_prompt
from tests.fakes import a_format

FORM = a_format()

PROBLEM = Problem("p", "What is $2^{3}$?", "8", "Prealgebra", 1, "test")


def test_the_mini_prompt_is_fixed() -> None:
    """The mini policy was trained on exactly this."""
    assert build_prompt(PROBLEM, "free", "mini") == "Problem: What is $2^{3}$?\nMode: free\n\n"


@pytest.mark.parametrize("mode", MODES)
def test_plain_and_chat_prompts_ask_for_a_box_and_mention_python_unless_text_is_forced(mode: str) -> None:
    plain = build_prompt(PROBLEM, mode, "plain", FORM.instructions(mode))
    chat = build_prompt(PROBLEM, mode, "chat", FORM.instructions(mode))
    assert isinstance(plain, str)
    assert isinstance(chat, list)
    assert [message["role"] for message in chat] == ["system", "user"]
    assert chat[1]["content"] == PROBLEM.text
    for prompt in (plain, chat[0]["content"]):
        assert "\\boxed{}" in prompt
        assert ("```python" in prompt) == (mode != "text")
    assert PROBLEM.text in plain


@pytest.mark.parametrize("style", STYLES)
def test_modes_differ_in_every_style(style: str) -> None:
    prompts = {str(build_prompt(PROBLEM, mode, style, FORM.instructions(mode))) for mode in MODES}
    assert len(prompts) == len(MODES)


def test_unknown_mode_and_style() -> None:
    with pytest.raises(ValueError, match="mode: 'maths'"):
        build_prompt(PROBLEM, "maths", "mini")
    with pytest.raises(ValueError, match="style: 'latex'"):
        build_prompt(PROBLEM, "free", "latex")
