"""What a policy acts in: prompts, tools, limits, grading and rewards; opened once for a whole run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    """What every rollout of a run has in common, whatever samples the tokens.

    Attributes:
        codec: of the policy: bytes and text of token ids.
        prompt_style: how problems are put (src/problems/prompt_text.py).
        sandbox: where programs run.
        tools: that can be called.
        form: how calls and results look.
        rollout: limits and options of a trajectory.
        grader: compares answers, while others are still sampled.
        reward: reward terms.
    """

    codec: TokenCodec
    prompt_style: str
    sandbox: Sandbox
    tools: Toolbox
    form: Format
    rollout: RolloutConfig
    grader: Grader
    reward: RewardConfig

    @cached_property
    def prompts(self) -> PromptEncoder:
        """How the policy is asked."""
        return PromptEncoder(self.codec.tokenizer, self.prompt_style, self.form)

    def show_prompt(self, problem: Problem, modes: Sequence[str]) -> dict[str, Any] | None:
        """Print a problem's prompt in the first mode as the policy reads it, and return it."""
        if not modes:
            return None
        (ids,) = self.prompts.ids([problem], modes[0])
        text = b"".join(map(self.codec.bytes_of, ids)).decode("utf-8", errors="replace")
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
    """Start the sandbox and the grader and make the tools; they end with the context.

    Args:
        cfg: settled (src/policy/settle.py).
        codec: of the policy.

    Raises:
        ConfigError: a tool or the format cannot be made.
        SandboxError: the sandbox cannot be started.
    """
    style = cfg.model.prompt_style
    with build_sandbox(cfg.sandbox) as sandbox, closing(build_tools(cfg.tools, sandbox)) as tools:
        form = build_format(cfg.format, list(tools), codec.tokenizer, style)
        with Grader(cfg.reward.grade_workers, cfg.reward.grade_seconds) as grader:
            console.print(f"sandbox: {sandbox.jail}, {sandbox.workers} workers")
            yield Environment(codec, style, sandbox, tools, form, cfg.rollout, grader, cfg.reward)
