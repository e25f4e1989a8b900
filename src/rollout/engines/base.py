"""The interface between the scheduler and the engines that sample tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class EngineError(RuntimeError):
    """An engine can no longer sample; this ends the rollout."""


class Finish(StrEnum):
    """Why an engine stopped sampling one sequence."""

    STOP = "stop"  # end of text, or the stop condition
    LENGTH = "length"  # the token limit, or the rollout was aborted


class StopCondition(Protocol):
    """Follows one sequence and decides where sampling may stop.

    It becomes true only at one of ``stop_ids`` or after one of ``stop_strings``. An engine that cannot check
    it after every token may stop at those, check it then, and continue if it is false.
    """

    stop_ids: frozenset[int]
    stop_strings: tuple[str, ...]

    def __call__(self, token_id: int) -> bool:
        """Whether sampling may stop after ``token_id``; called exactly once per sampled token, in order."""


@dataclass(frozen=True, slots=True)
class Request:
    """One sequence to continue.

    Attributes:
        id: the scheduler's handle, returned in the :class:`Generation`.
        token_ids: the whole context, prompt included, exactly as the model reads it.
        max_tokens: most tokens to sample, at least 1.
        stop_condition: where sampling may stop. An engine may stop later (the scheduler cuts), but not
            earlier. None: sample to the end of text or the limit.
        seed: seed of the request's own random stream, independent of the rest of the batch; None: the
            engine's stream. Concurrent requests must all have a seed or all have none.
    """

    id: int
    token_ids: Sequence[int]
    max_tokens: int
    stop_condition: StopCondition | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """The tokens sampled for one request.

    Attributes:
        id: id of the request.
        token_ids: sampled tokens, including end of text.
        logprobs: sampling logprob of each token, or None if the engine keeps none.
        finish: why sampling stopped.
    """

    id: int
    token_ids: list[int]
    logprobs: list[float] | None
    finish: Finish


class Engine(Protocol):
    """Samples tokens for many requests, one rollout at a time: ``start``, then the rest, then ``stop``."""

    streaming: bool  # whether requests can be added at any time, without waiting for a full batch
    background: bool  # whether it samples without being polled and calls ``notify``

    @property
    def pending(self) -> int:
        """Number of unfinished requests."""

    def start(self, notify: Callable[[], None]) -> None:
        """Start a rollout.

        Args:
            notify: a ``background`` engine calls it, from any thread, when :meth:`poll` has results.

        Raises:
            EngineError: the engine is unavailable.
        """

    def submit(self, request: Request) -> None:
        """Add a request. Raises EngineError."""

    def poll(self, until: float | None = None) -> list[Generation]:
        """Return finished generations, possibly none; an engine that is not ``background`` samples first.

        Args:
            until: deadline (``time.monotonic()``) by which to return, even without results.

        Raises:
            EngineError: sampling failed permanently.
        """

    def abort(self) -> list[Generation]:
        """Abort every pending request; return the tokens that each has sampled, as far as known."""

    def stop(self) -> None:
        """End the rollout, finished or cancelled, and drop all requests; never raises."""
