"""The interface between the scheduler and whatever samples tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Finish(StrEnum):
    """Why an engine stopped sampling one sequence."""

    STOP = "stop"  # end of text, or the watch said so
    LENGTH = "length"  # the request's limit


@dataclass(frozen=True)
class Request:
    """One sequence to continue.

    Attributes:
        id: the scheduler's handle; comes back in the :class:`Generation`.
        token_ids: everything so far, prompt included, exactly as it must be fed.
        max_tokens: most tokens to sample, at least 1.
        watch: called once with every sampled token, in order; True means that a code block is
            complete. An engine may stop later than that (the scheduler cuts), never earlier
            without cause. None: sample to the end of text or the limit.
    """

    id: int
    token_ids: Sequence[int]
    max_tokens: int
    watch: Callable[[int], bool] | None = None


@dataclass(frozen=True)
class Generation:
    """What was sampled for one request.

    Attributes:
        id: of the request.
        token_ids: sampled tokens, end-of-text included.
        logprobs: of each of them at the moment of sampling, or None if the engine keeps none.
        finish: why sampling stopped.
    """

    id: int
    token_ids: list[int]
    logprobs: list[float] | None
    finish: Finish


class Engine(Protocol):
    """Samples tokens for many requests."""

    streaming: bool  # whether polling while some requests are still to come costs nothing

    @property
    def pending(self) -> int:
        """Requests submitted and not yet answered."""

    def submit(self, request: Request) -> None:
        """Take on a request."""

    def poll(self) -> list[Generation]:
        """Work for a while and return what is finished, possibly nothing."""

    def reset(self) -> None:
        """Forget every pending request (a rollout was cancelled)."""
