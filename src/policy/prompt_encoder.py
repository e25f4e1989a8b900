"""Encodes problems as prompt ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from src.formats.base import Format
from src.problems import Problem
from src.problems.prompt_text import build_prompt

_AT_ONCE = 1024  # prompts per tokenizer call, which uses several threads


@dataclass(frozen=True)
class PromptEncoder:
    """Encodes prompts for one policy.

    Attributes:
        tokenizer: the policy's tokenizer, with its chat template.
        style: ``model.prompt_style``, after it is resolved.
        form: format of tool calls and results; provides the instructions for the tools.
        template: ``model.prompt_template``; None: our prompts.
    """

    tokenizer: Any
    style: str
    form: Format
    template: Mapping[str, Any] | None = None

    def ids(self, problems: Sequence[Problem], mode: str) -> list[list[int]]:
        """Return the prompt ids of problems in ``mode``, in order; batching does not change them.

        Of a problem with ``max_prompt_tokens``, at most the last that many.
        """
        whole = self._whole(problems, mode)
        return [
            ids if problem.max_prompt_tokens is None else ids[-problem.max_prompt_tokens :]
            for problem, ids in zip(problems, whole, strict=True)
        ]

    def _whole(self, problems: Sequence[Problem], mode: str) -> list[list[int]]:
        instructions = self.form.instructions(mode)
        prompts = [
            build_prompt(problem, mode, self.style, instructions, self.template) for problem in problems
        ]
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
        """Yield the number of prompt tokens of each problem, the maximum over ``modes``."""
        for start in range(0, len(problems), _AT_ONCE):
            part = problems[start : start + _AT_ONCE]
            of_modes = [map(len, self.ids(part, mode)) for mode in modes]
            yield from (max(lengths) for lengths in zip(*of_modes, strict=True))
