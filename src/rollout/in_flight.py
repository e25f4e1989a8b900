"""An unfinished trajectory: its context, its remaining tokens and its running tool call."""

from __future__ import annotations

import itertools
from concurrent.futures import Future
from dataclasses import dataclass, field

from src.formats.base import Format, Scanner
from src.policy.codec import TokenCodec
from src.rewards.answers import extract_answer
from src.rollout.trajectory import Author, Segment, StopReason, Trajectory
from src.tools.base import ToolResult

_numbers = itertools.count()  # one toolbox may serve several rollouts


@dataclass(slots=True)
class InFlight:
    """An unfinished trajectory."""

    trajectory: Trajectory
    context: list[int]
    scanner: Scanner
    remaining_tokens: int  # until the completion reaches its limit
    noticed: bool = False
    turn_began: float = 0.0
    requests: int = 0  # engine requests so far
    running: tuple[str, Future[ToolResult]] | None = None  # the tool and its future result
    name: str = field(default_factory=lambda: f"trajectory-{next(_numbers)}")  # identifies it to tools

    def append(
        self,
        codec: TokenCodec,
        author: Author,
        token_ids: list[int],
        logprobs: list[float] | None = None,
        tool: str | None = None,
        seconds: float = 0.0,
    ) -> None:
        """Append tokens to the trajectory; adjacent segments of the same author are merged."""
        segments = self.trajectory.segments
        if segments and segments[-1].author is author:
            last = segments[-1]
            last.token_ids += token_ids
            if last.logprobs is not None and logprobs is not None:
                last.logprobs += logprobs
            last.text = codec.text(last.token_ids)
            last.tool = last.tool or tool
            last.seconds += seconds
        elif token_ids or author is Author.TOOL:
            text = codec.text(token_ids)
            segments.append(Segment(author, list(token_ids), text, logprobs, tool, seconds))
        self.context += token_ids
        self.remaining_tokens -= len(token_ids)


def conclusion(trajectory: Trajectory, form: Format) -> StopReason:
    """Return the stop reason of a trajectory that the policy ended itself."""
    last = trajectory.segments[-1].text
    if extract_answer([last], form.spans) is None and not form.spans(last):
        return StopReason.VOID
    answer = extract_answer(trajectory.policy_texts, form.spans)
    return StopReason.NO_ANSWER if answer is None else StopReason.ANSWERED
