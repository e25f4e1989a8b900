"""The interface between the scheduler and whatever samples tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class EngineError(RuntimeError):
    """An engine cannot sample any more; the rollout ends with it."""


class Finish(StrEnum):
    """Why an engine stopped sampling one sequence."""

    STOP = "stop"  # end of text, or the condition said so
    LENGTH = "length"  # the request's limit, or the rollout was ended


class StopCondition(Protocol):
    """Follows one sequence and says where sampling may stop.

    An engine that cannot ask after every token may let sampling stop at any of ``stop_ids`` or after any
    of ``stop_strings``, ask then, and go on if the answer is no: a condition holds nowhere else.
    """

    stop_ids: frozenset[int]
    stop_strings: tuple[str, ...]

    def __call__(self, token_id: int) -> bool:
        """Whether sampling may stop after ``token_id``, the next sampled token; called once with each."""


@dataclass(frozen=True, slots=True)
class Request:
    """One sequence to continue.

    Attributes:
        id: the scheduler's handle; comes back in the :class:`Generation`.
        token_ids: everything so far, prompt included, exactly as it must be fed.
        max_tokens: most tokens to sample, at least 1.
        stop_condition: where sampling may stop. An engine may stop later than that (the scheduler cuts),
            never earlier without cause. None: sample to the end of text or the limit.
        seed: of the random stream that is sampled from, whatever else is sampled beside it; None: the
            engine's own. Of the requests that an engine has at once, all have one or none has.
    """

    id: int
    token_ids: Sequence[int]
    max_tokens: int
    stop_condition: StopCondition | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
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
    """Samples tokens for many requests, one rollout at a time: ``start``, then the rest, then ``stop``."""

    streaming: bool  # whether polling while some requests are still to come costs nothing
    background: bool  # whether it works without being polled, and notifies

    @property
    def pending(self) -> int:
        """Requests submitted and not yet answered."""

    def start(self, notify: Callable[[], None]) -> None:
        """A rollout begins.

        Args:
            notify: a ``background`` engine calls it, from any thread, when :meth:`poll` has something.

        Raises:
            EngineError: the engine is not there.
        """

    def submit(self, request: Request) -> None:
        """Take on a request. Raises EngineError."""

    def poll(self, until: float | None = None) -> list[Generation]:
        """Return what is finished, possibly nothing; unless ``background``, after some work on it.

        Args:
            until: return by then (``time.monotonic()``), whether or not anything is finished.

        Raises:
            EngineError: sampling failed for good.
        """

    def abort(self) -> list[Generation]:
        """Give up every pending request; return what each has sampled, as far as that is known."""

    def stop(self) -> None:
        """The rollout is over, or was cancelled: forget every request; never raises."""
