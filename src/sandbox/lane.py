"""What the pool is made of: a lane runs one program at a time, wherever that is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from src.sandbox.api import ExecutionResult


class LaneFailure(Exception):
    """The lane died, hung or answered nonsense; nothing is known about the program."""


class LaneGone(LaneFailure):
    """The lane was found dead before it was given the program, which is not to count as a try."""


@dataclass(frozen=True, eq=False)
class Order:
    """One execution.

    ``wall_seconds`` is its limit; ``history`` are the earlier successful programs of its ``trajectory``,
    whose effects it must find (empty with ``sandbox.state=fresh``).
    """

    code: str
    wall_seconds: float
    trajectory: str | None = None
    history: tuple[str, ...] = ()


class Lane(ABC):
    """Used by one thread, which starts it; ``interrupt``, ``cancel`` and ``forget`` may come from any other.

    A lane that failed is closed and replaced by a new one; the pool retries the execution there once.
    """

    @abstractmethod
    def start(self) -> list[str]:
        """Make it ready to execute; the protections that are missing. Raises LaneFailure or SandboxError."""

    @abstractmethod
    def execute(self, order: Order) -> ExecutionResult:
        """Run one program and wait for its result. Raises LaneFailure; the lane is then of no more use."""

    @abstractmethod
    def interrupt(self) -> None:
        """Make a ``start`` or ``execute`` in progress fail at once; does not wait."""

    @abstractmethod
    def close(self) -> None:
        """Give back everything it holds. Idempotent; waits until it is gone."""

    def cancel(self, order: Order) -> None:  # noqa: B027 - at worst the program runs to its end
        """End ``order``, in progress or about to be; its result is then ``KILLED``. No other must suffer."""

    def forget(self, trajectory: str) -> None:  # noqa: B027 - most lanes keep nothing
        """Drop what is kept for ``trajectory``."""

    @property
    def pid(self) -> int | None:
        """The outermost process of the lane on this machine, if it has one."""
        return None
