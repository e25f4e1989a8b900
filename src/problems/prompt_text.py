"""Prompts for problems."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from src.problems.problem import Problem, ProblemError

MODES = ("free", "text", "code")
STYLES = ("mini", "plain", "chat", "chat_without_thinking")
PLACE = "{problem}"
Messages = list[dict[str, str]]

_ASK = "Solve the problem step by step and put the final answer in \\boxed{}."


def build_prompt(
    problem: Problem,
    mode: str,
    style: str,
    instructions: str = "",
    template: Mapping[str, Any] | None = None,
) -> str | Messages:
    """Return the prompt as a string (styles ``mini`` and ``plain``) or as chat messages (``chat...``).

    Args:
        problem: the problem; its own prompt, if it has one, is used as it is, whatever the other arguments.
        mode: ``free`` (with or without code), ``text`` (without code) or ``code`` (with code).
        style: ``mini`` for the mini policy, ``plain`` for base models, ``chat`` for a chat template,
            ``chat_without_thinking`` for a chat template with thinking turned off (Qwen3).
        instructions: how tools are called in this mode (``Format.instructions``); unused by ``mini`` and with
            a template.
        template: ``model.prompt_template``, see :func:`filled`.

    Raises:
        ValueError: unknown mode or style.
        ProblemError: the problem's own prompt is chat messages, and the style has none.
    """
    if mode not in MODES:
        raise ValueError(f"mode: {mode!r}; choose from {', '.join(MODES)}")
    if style not in STYLES:
        raise ValueError(f"style: {style!r}; choose from {', '.join(STYLES)}")
    chat = style.startswith("chat")
    if problem.prompt is not None:
        prompt = problem.prompt
    elif template is not None:
        prompt = filled(template[mode], problem.text)
    elif style == "mini":
        prompt = f"Problem: {problem.text}\nMode: {mode}\n\n"
    elif chat:
        prompt = _messages(f"{_ASK} {instructions}", problem.text)
    else:
        prompt = f"{_ASK} {instructions}\n\nProblem: {problem.text}\n\nSolution:\n"
    if isinstance(prompt, str) and chat:
        return [{"role": "user", "content": prompt}]
    if not isinstance(prompt, str) and not chat:
        raise ProblemError(
            f"{problem.id}: its prompt is a list of chat messages, but model.prompt_style is {style}; set "
            "model.prompt_style=chat if the tokenizer has a chat template, or keep_prompt=false"
        )
    return prompt


def filled(template: str | Mapping[str, str], text: str) -> str | Messages:
    """Return one mode's text of ``model.prompt_template`` with the problem in the place of ``{problem}``.

    A string is the whole prompt or, in the chat styles, the user's turn; ``{system: ..., user: ...}`` are two
    turns.
    """
    if isinstance(template, str):
        return template.replace(PLACE, text)
    return _messages(template["system"], template["user"].replace(PLACE, text))


def _messages(system: str, user: str) -> Messages:
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]
