"""How long commands take, learnt from those that have finished."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from statistics import mean

from experiments.reproduce.plan import ANALYSIS, EVALUATE, REPORT, TRAIN, Command, CommandPlan

# What a command takes as long as none of its kind has finished: seconds, and for the order, trainings.
_SECONDS = {ANALYSIS: 10.0, REPORT: 5.0}
_WEIGHTS = {TRAIN: 1.0, EVALUATE: 1.5, ANALYSIS: 0.0, REPORT: 0.0}


def priorities(plan: CommandPlan) -> dict[str, float]:
    """Return, for each command, the weight of the longest chain that begins with it."""
    result: dict[str, float] = {}
    for name, command in reversed(plan.commands.items()):
        after = [result[other] for other, one in plan.commands.items() if name in one.needs]
        result[name] = _WEIGHTS[command.kind] + max(after, default=0.0)
    return result


class Pace:
    """Mean seconds of commands of one pace, or else of one kind."""

    def __init__(self) -> None:
        self._seen: dict[str, list[float]] = defaultdict(list)

    def learn(self, command: Command, seconds: float) -> None:
        """Note what a finished command took, over all attempts at it."""
        for name in {command.pace, command.kind}:
            self._seen[name].append(seconds)

    def of(self, command: Command) -> float | None:
        """Return what a command may take; None: nothing is known of its kind."""
        for name in (command.pace, command.kind):
            if name in self._seen:
                return mean(self._seen[name])
        return _SECONDS.get(command.kind)

    def left(self, commands: Mapping[str, Command], spent: Mapping[str, float], jobs: int) -> float | None:
        """Return the seconds that ``commands`` still take, ``jobs`` of them at once; None: not known yet.

        Args:
            commands: that have not finished.
            spent: seconds that some of them have had already.
            jobs: at once.
        """
        total = 0.0
        for name, command in commands.items():
            expected = self.of(command)
            if expected is None:
                return None
            total += max(0.0, expected - spent.get(name, 0.0))
        return total / jobs


def span(seconds: float) -> str:
    """Return a duration as one says it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
