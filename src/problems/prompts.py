"""How a problem is put to a policy."""

from __future__ import annotations

from src.problems.problem import Problem

MODES = ("free", "text", "code")
STYLES = ("mini", "plain", "chat", "chat_without_thinking")
Messages = list[dict[str, str]]

_ASK = "Solve the problem step by step and put the final answer in \\boxed{}."
_HOW = {
    "free": "Where it helps, write a Python program in a ```python block that prints what you need: it is "
    "run and its output is shown to you in an output block.",
    "text": "Reason in words and formulas only; programs are not run.",
    "code": "Write a Python program in a ```python block that prints what you need: it is run and its "
    "output is shown to you in an output block. Base the answer on that output.",
}


def build_prompt(problem: Problem, mode: str, style: str) -> str | Messages:
    """Return the prompt as a string (styles ``mini`` and ``plain``) or as chat messages (``chat...``).

    Args:
        problem: what to ask.
        mode: ``free`` (code or not, as the policy likes), ``text`` (no code) or ``code``.
        style: ``mini`` for the mini policy, ``plain`` for base models, ``chat`` for a chat template,
            ``chat_without_thinking`` for one that is told to leave thinking out (Qwen3's).

    Raises:
        ValueError: unknown mode or style.
    """
    if mode not in MODES:
        raise ValueError(f"mode: {mode!r}; choose from {', '.join(MODES)}")
    if style == "mini":
        return f"Problem: {problem.text}\nMode: {mode}\n\n"
    if style == "plain":
        return f"{_ASK} {_HOW[mode]}\n\nProblem: {problem.text}\n\nSolution:\n"
    if style in ("chat", "chat_without_thinking"):
        return [
            {"role": "system", "content": f"{_ASK} {_HOW[mode]}"},
            {"role": "user", "content": problem.text},
        ]
    raise ValueError(f"style: {style!r}; choose from {', '.join(STYLES)}")
