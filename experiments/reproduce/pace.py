"""Estimates the durations of commands from finished ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from statistics import mean

from experiments.reproduce.plan import ANALYSIS, EVALUATE, MERGE, REPORT, TRAIN, Command, CommandPlan

# Initial durations in seconds, until a command of the kind has finished.
_SECONDS = {MERGE: 10.0, ANALYSIS: 10.0, REPORT: 5.0}
_WEIGHTS = {TRAIN: 1.0, EVALUATE: 1.5, MERGE: 0.0, ANALYSIS: 0.0, REPORT: 0.0}


def priorities(plan: CommandPlan) -> dict[str, float]:
    """Return, for each command, the weight of the longest dependency chain that starts with it."""
    result: dict[str, float] = {}
    for name, command in reversed(plan.commands.items()):
        after = [result[other] for other, one in plan.commands.items() if name in one.needs]
        result[name] = _WEIGHTS[command.kind] + max(after, default=0.0)
    return result


class Pace:
    """Mean durations of commands by pace, or else by kind."""

    def __init__(self) -> None:
        self._seen: dict[str, list[float]] = defaultdict(list)

    def learn(self, command: Command, seconds: float) -> None:
        """Record the duration of a finished command, over all attempts."""
        for name in {command.pace, command.kind}:
            self._seen[name].append(seconds)

    def of(self, command: Command) -> float | None:
        """Return the expected duration of a command; None: unknown."""
        for name in (command.pace, command.kind):
            if name in self._seen:
                return mean(self._seen[name])
        return _SECONDS.get(command.kind)

    def left(self, commands: Mapping[str, Command], spent: Mapping[str, float], jobs: int) -> float | None:
        """Return the remaining seconds of ``commands``, ``jobs`` of them in parallel; None: not known yet.

        Args:
            commands: unfinished commands.
            spent: seconds already spent, by command.
            jobs: number of parallel commands.
        """
        total = 0.0
        for name, command in commands.items():
            expected = self.of(command)
            if expected is None:
                return None
            total += max(0.0, expected - spent.get(name, 0.0))
        return total / jobs


def span(seconds: float) -> str:
    """Return a duration as text."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
