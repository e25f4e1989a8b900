"""A trajectory: a prompt and its completion, as token segments with one author each."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum

from src.problems import Problem
from src.sandbox import Status
from src.tools.base import Call, ToolResult


class Author(StrEnum):
    """Who wrote a segment."""

    POLICY = "policy"
    TOOL = "tool"


class StopReason(StrEnum):
    """Why a trajectory ended."""

    ANSWERED = "answered"  # the policy ended its text, which contains an answer
    NO_ANSWER = "no_answer"  # ended with a block in the last segment, but no answer anywhere
    LENGTH = "length"  # the token or time limit
    BUDGET = "budget"  # a call beyond the budget, with over_budget=stop
    VOID = "void"  # ended with neither a block nor an answer in the last segment
    INFRASTRUCTURE = "infrastructure"  # an infrastructure failure, not the policy's fault


@dataclass(frozen=True, slots=True)
class Task:
    """A trajectory to sample.

    Attributes:
        problem: the problem to solve.
        mode: free, text or code.
        sample: index among the trajectories of this problem.
        prompt_ids: token ids of the prompt.
        budget: most executions.
        seed: seed of its own random stream (src/rollout/streams.py); None: it shares the engine's stream.
        group: number of its group in the training step; None: an evaluation.
    """

    problem: Problem
    mode: str
    sample: int
    prompt_ids: list[int]
    budget: int
    seed: int | None = None
    group: int | None = None


@dataclass(slots=True)
class Segment:
    """A run of tokens with one author.

    Attributes:
        author: who wrote it.
        token_ids: the tokens, in order.
        text: the decoded tokens.
        logprobs: one per token, or None.
        tool: name of the tool whose result it contains.
        seconds: from the request to the engine until it was sampled, or from the call until the result: with
            the time spent waiting for engine, workers or, in lockstep, other trajectories.
    """

    author: Author
    token_ids: list[int]
    text: str
    logprobs: list[float] | None = None
    tool: str | None = None
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Execution:
    """A tool call, valid or not, with its result."""

    call: Call
    result: ToolResult

    @property
    def code(self) -> str:
        """The arguments as text: the argument itself if it is a single string, otherwise all as JSON."""
        values = list(self.call.arguments.values())
        if len(values) == 1 and isinstance(values[0], str):
            return values[0]
        return json.dumps(dict(self.call.arguments), ensure_ascii=False)

    @property
    def failed(self) -> bool:
        """Whether it failed because of the code, not the infrastructure."""
        return self.result.status not in (Status.OK, Status.INFRASTRUCTURE)


@dataclass(slots=True)
class Trajectory:
    """The task, the segments of the completion, the executions and the stop reason."""

    task: Task
    segments: list[Segment] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)
    stop_reason: StopReason | None = None  # None until it ends
    dropped_tokens: int = 0  # sampled, then discarded at a boundary
    fabricated_output: bool = False  # the policy sampled a result itself, even if it was cut
    straggler: bool = False  # ``rollout.max_seconds`` ended it

    @property
    def completion_ids(self) -> list[int]:
        """Token ids after the prompt, (T,)."""
        return [index for segment in self.segments for index in segment.token_ids]

    @property
    def mask(self) -> list[int]:
        """Loss mask, (T,): 1 if and only if the policy sampled the token (invariant 2)."""
        return [int(s.author is Author.POLICY) for s in self.segments for _ in s.token_ids]

    @property
    def logprobs(self) -> list[float] | None:
        """Sampling logprobs, (T,), 0.0 for tokens that were not sampled; None if the engine keeps none."""
        if any(s.author is Author.POLICY and s.logprobs is None for s in self.segments):
            return None
        return [value for s in self.segments for value in (s.logprobs or [0.0] * len(s.token_ids))]

    def tokens(self, author: Author) -> int:
        """Return the number of tokens of one author."""
        return sum(len(s.token_ids) for s in self.segments if s.author is author)

    @property
    def policy_texts(self) -> list[str]:
        """The texts of the policy's segments, in order."""
        return [s.text for s in self.segments if s.author is Author.POLICY]
