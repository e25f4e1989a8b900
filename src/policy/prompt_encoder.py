"""Problems as prompt ids, one or many at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from src.formats.base import Format
from src.problems import Problem
from src.problems.prompt_text import build_prompt

_AT_ONCE = 1024  # prompts that a tokenizer shares out over its threads


@dataclass(frozen=True)
class PromptEncoder:
    """How one policy is asked.

    Attributes:
        tokenizer: of the policy, with its chat template.
        style: ``model.prompt_style``, settled.
        form: how calls and results look; says what a prompt tells of the tools.
    """

    tokenizer: Any
    style: str
    form: Format

    def ids(self, problems: Sequence[Problem], mode: str) -> list[list[int]]:
        """Return the prompt ids of problems posed in ``mode``, in order; each is what it would be alone."""
        instructions = self.form.instructions(mode)
        prompts = [build_prompt(problem, mode, self.style, instructions) for problem in problems]
        if all(isinstance(prompt, str) for prompt in prompts):
            return [list(ids) for ids in self.tokenizer(prompts)["input_ids"]]
        options: dict[str, Any] = {"enable_thinking": False} if self.style == "chat_without_thinking" else {}
        if tools := self.form.template_tools(mode):
            options["tools"] = tools
        found = self.tokenizer.apply_chat_template(
            prompts, add_generation_prompt=True, return_dict=False, **options
        )
        return [list(ids) for ids in found]

    def lengths(self, problems: Sequence[Problem], modes: Sequence[str]) -> Iterator[int]:
        """Yield the tokens of each problem's prompt, of the longest where there are several ``modes``."""
        for start in range(0, len(problems), _AT_ONCE):
            part = problems[start : start + _AT_ONCE]
            of_modes = [map(len, self.ids(part, mode)) for mode in modes]
            yield from (max(lengths) for lengths in zip(*of_modes, strict=True))
