"""The environment of a policy: prompts, tools, limits, grading and rewards; opened once per run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from src.config import Config, EvaluationConfig, RewardConfig, RolloutConfig
from src.formats.base import Format
from src.formats.build import build_format
from src.policy.codec import TokenCodec
from src.policy.prompt_encoder import PromptEncoder
from src.problems import Problem
from src.rewards import Grader
from src.run.console import console
from src.sandbox import Sandbox, build_sandbox
from src.tools.base import Toolbox
from src.tools.build import build_tools


@dataclass(frozen=True)
class Environment:
    """What all rollouts of a run share, independent of the engine.

    Attributes:
        codec: converts token ids of the policy to bytes and text.
        prompt_style: ``model.prompt_style`` (src/problems/prompt_text.py).
        sandbox: runs programs.
        tools: the tools that the policy can call.
        form: format of tool calls and results.
        rollout: limits and options of a trajectory.
        grader: compares answers, in parallel with sampling.
        reward: reward terms.
        prompt_template: ``model.prompt_template``; None: our prompts.
        examples: ``model.examples``.
        examples_seed: ``model.examples_seed``.
    """

    codec: TokenCodec
    prompt_style: str
    sandbox: Sandbox
    tools: Toolbox
    form: Format
    rollout: RolloutConfig
    grader: Grader
    reward: RewardConfig
    prompt_template: Mapping[str, Any] | None = None
    examples: int = 0
    examples_seed: int = 0

    @cached_property
    def prompts(self) -> PromptEncoder:
        """Encodes problems as prompts."""
        return PromptEncoder(
            self.codec.tokenizer,
            self.prompt_style,
            self.form,
            self.prompt_template,
            self.examples,
            self.examples_seed,
        )

    def prompt_text(self, ids: Sequence[int]) -> str:
        """Return the text of a prompt, control tokens included."""
        return b"".join(map(self.codec.bytes_of, ids)).decode("utf-8", errors="replace")

    def show_prompt(self, problem: Problem, modes: Sequence[str]) -> dict[str, Any] | None:
        """Print the prompt of a problem in the first mode, exactly as the policy reads it, and return it."""
        if not modes:
            return None
        (ids,) = self.prompts.ids([problem], modes[0])
        text = self.prompt_text(ids)
        console.print(
            f"first prompt (model.prompt_style={self.prompt_style}, mode {modes[0]}, {len(ids)} tokens):",
            highlight=False,
        )
        console.print(text, style="dim", markup=False, highlight=False)
        return {
            "prompt_style": self.prompt_style,
            "mode": modes[0],
            "problem_id": problem.id,
            "tokens": len(ids),
            "text": text,
        }


@contextmanager
def open_environment(cfg: Config | EvaluationConfig, codec: TokenCodec) -> Iterator[Environment]:
    """Start the sandbox, the tools and the grader; the context manager closes them.

    Args:
        cfg: after :func:`src.policy.settle.settle`.
        codec: of the policy's tokenizer.

    Raises:
        ConfigError: a tool or the format cannot be built.
        SandboxError: the sandbox cannot be started.
    """
    style = cfg.model.prompt_style
    with build_sandbox(cfg.sandbox) as sandbox, closing(build_tools(cfg.tools, sandbox)) as tools:
        form = build_format(cfg.format, list(tools), codec.tokenizer, style)
        with Grader(cfg.reward.grade_workers, cfg.reward.grade_seconds, mode=cfg.reward.grader) as grader:
            console.print(f"sandbox: {sandbox.jail}, {sandbox.workers} workers")
            yield Environment(
                codec=codec,
                prompt_style=style,
                prompt_template=cfg.model.prompt_template,
                examples=cfg.model.examples or 0,
                examples_seed=cfg.model.examples_seed or 0,
                sandbox=sandbox,
                tools=tools,
                form=form,
                rollout=cfg.rollout,
                grader=grader,
                reward=cfg.reward,
            )
