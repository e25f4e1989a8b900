"""Problems as prompt ids, one or many at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from src.formats.base import Format
from src.problems import Problem
from src.problems.prompts import build_prompt

_AT_ONCE = 1024  # prompts that a tokenizer shares out over its threads


def prompt_ids(
    tokenizer: Any, problems: Sequence[Problem], mode: str, style: str, form: Format
) -> list[list[int]]:
    """Return the prompt ids of problems posed in ``mode``, in order; each is what it would be alone."""
    prompts = [build_prompt(problem, mode, style, form.instructions(mode)) for problem in problems]
    if all(isinstance(prompt, str) for prompt in prompts):
        return [list(ids) for ids in tokenizer(prompts)["input_ids"]]
    options: dict[str, Any] = {"enable_thinking": False} if style == "chat_without_thinking" else {}
    if tools := form.template_tools(mode):
        options["tools"] = tools
    found = tokenizer.apply_chat_template(prompts, add_generation_prompt=True, return_dict=False, **options)
    return [list(ids) for ids in found]


def prompt_lengths(
    tokenizer: Any, problems: Sequence[Problem], modes: Sequence[str], style: str, form: Format
) -> Iterator[int]:
    """Yield the tokens of each problem's prompt, of the longest where it is posed in several ``modes``."""
    for start in range(0, len(problems), _AT_ONCE):
        part = problems[start : start + _AT_ONCE]
        of_modes = [map(len, prompt_ids(tokenizer, part, mode, style, form)) for mode in modes]
        yield from (max(lengths) for lengths in zip(*of_modes, strict=True))
