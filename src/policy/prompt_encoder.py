"""Encodes problems as prompt ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from src.config import ModelConfig
from src.formats.base import Format
from src.policy.worked_examples import WorkedExample, with_examples, worked_examples
from src.problems import Problem
from src.problems.prompt_text import Messages, build_prompt

_AT_ONCE = 1024  # prompts per tokenizer call, which uses several threads


@dataclass(frozen=True)
class PromptEncoder:
    """Encodes prompts for one policy.

    Attributes:
        tokenizer: the policy's tokenizer, with its chat template.
        style: ``model.prompt_style``, after it is resolved.
        form: format of tool calls and results; provides the instructions for the tools.
        template: ``model.prompt_template``; None: our prompts.
        examples: ``model.examples``: worked examples before each problem.
        examples_seed: which ones.
    """

    tokenizer: Any
    style: str
    form: Format
    template: Mapping[str, Any] | None = None
    examples: int = 0
    examples_seed: int = 0
    _worked: dict[str, list[WorkedExample]] = field(default_factory=dict, init=False, compare=False)

    @classmethod
    def of(cls, cfg: ModelConfig, tokenizer: Any, form: Format) -> PromptEncoder:
        """Return the encoder for a policy whose settings are resolved (src/policy/settle.py)."""
        return cls(
            tokenizer,
            cfg.prompt_style,
            form,
            cfg.prompt_template,
            examples=cfg.examples or 0,
            examples_seed=cfg.examples_seed or 0,
        )

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
        worked = self._examples(mode)
        prompts = [
            with_examples(problem, worked, lambda one: self._prompt(one, mode, instructions))
            for problem in problems
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

    def _prompt(self, problem: Problem, mode: str, instructions: str) -> str | Messages:
        return build_prompt(problem, mode, self.style, instructions, self.template)

    def _examples(self, mode: str) -> list[WorkedExample]:
        if mode not in self._worked:
            self._worked[mode] = worked_examples(self.examples, self.examples_seed, mode, self.form)
        return self._worked[mode]

    def lengths(self, problems: Sequence[Problem], modes: Sequence[str]) -> Iterator[int]:
        """Yield the number of prompt tokens of each problem, the maximum over ``modes``."""
        for start in range(0, len(problems), _AT_ONCE):
            part = problems[start : start + _AT_ONCE]
            of_modes = [map(len, self.ids(part, mode)) for mode in modes]
            yield from (max(lengths) for lengths in zip(*of_modes, strict=True))
