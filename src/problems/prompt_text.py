"""Prompts for problems."""

from __future__ import annotations

from src.problems.problem import Problem

MODES = ("free", "text", "code")
STYLES = ("mini", "plain", "chat", "chat_without_thinking")
Messages = list[dict[str, str]]

_ASK = "Solve the problem step by step and put the final answer in \\boxed{}."


def build_prompt(problem: Problem, mode: str, style: str, instructions: str = "") -> str | Messages:
    """Return the prompt as a string (styles ``mini`` and ``plain``) or as chat messages (``chat...``).

    Args:
        problem: the problem.
        mode: ``free`` (with or without code), ``text`` (without code) or ``code`` (with code).
        style: ``mini`` for the mini policy, ``plain`` for base models, ``chat`` for a chat template,
            ``chat_without_thinking`` for a chat template with thinking turned off (Qwen3).
        instructions: how tools are called in this mode (``Format.instructions``); unused by ``mini``.

    Raises:
        ValueError: unknown mode or style.
    """
    if mode not in MODES:
        raise ValueError(f"mode: {mode!r}; choose from {', '.join(MODES)}")
    if style == "mini":
        return f"Problem: {problem.text}\nMode: {mode}\n\n"
    if style == "plain":
        return f"{_ASK} {instructions}\n\nProblem: {problem.text}\n\nSolution:\n"
    if style in ("chat", "chat_without_thinking"):
        return [
            {"role": "system", "content": f"{_ASK} {instructions}"},
            {"role": "user", "content": problem.text},
        ]
    raise ValueError(f"style: {style!r}; choose from {', '.join(STYLES)}")
