"""Lanes, of which a pool consists: a lane runs one program at a time, locally or remotely."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from src.sandbox.api import ExecutionResult


class LaneFailure(Exception):
    """The lane died, hung or sent an invalid answer; the result of the program is unknown."""


class LaneGone(LaneFailure):
    """The lane was found dead before it received the program, which does not count as an attempt."""


class ProgramLost(LaneFailure):
    """The lane failed while it ran the program, which may be the program's doing."""


@dataclass(frozen=True)
class PastProgram:
    """An earlier program of a trajectory whose effects remain.

    ``wall_seconds``: the most that running it again may take. ``failed``: it did at first, and was kept.
    """

    code: str
    wall_seconds: float
    failed: bool = False


@dataclass(frozen=True, eq=False)
class Order:
    """One execution.

    ``wall_seconds`` is its limit; ``history`` has the earlier programs of its ``trajectory``,
    whose state it inherits (empty with ``sandbox.state=fresh``).
    """

    code: str
    wall_seconds: float
    trajectory: str | None = None
    history: tuple[PastProgram, ...] = ()

    @property
    def longest_seconds(self) -> float:
        """The most seconds that it may take on a lane: running the history again, then the program."""
        return self.wall_seconds + sum(one.wall_seconds for one in self.history)


class Lane(ABC):
    """Used by the thread that starts it; ``interrupt``, ``cancel`` and ``forget`` may be called from others.

    A failed lane is closed and replaced by a new one, where the pool retries the execution once.
    """

    @abstractmethod
    def start(self) -> list[str]:
        """Make the lane ready; return the missing protections. Raises LaneFailure or SandboxError."""

    @abstractmethod
    def execute(self, order: Order) -> ExecutionResult:
        """Run one program and wait for its result. Raises LaneFailure; the lane is then unusable."""

    @abstractmethod
    def interrupt(self) -> None:
        """Make a ``start`` or ``execute`` in progress fail at once; does not wait."""

    @abstractmethod
    def close(self) -> None:
        """Release all resources, and wait until that is done. Idempotent."""

    def cancel(self, order: Order) -> None:  # noqa: B027 - at worst the program runs to its end
        """End ``order``, running or about to run, whose result is then ``KILLED``; must not affect others."""

    def forget(self, trajectory: str) -> None:  # noqa: B027 - most lanes keep nothing
        """Discard the state of ``trajectory``."""

    @property
    def pid(self) -> int | None:
        """Process id of the lane's outermost process on this machine, if it has one."""
        return None
