"""Alarms: metrics of rollout steps that mean trouble, said at once instead of after a night.

A rule names a metric, a bound and how many steps in a row it must be passed; it warns, or stops the run. A
metric that a step does not have (no engine logprobs, say) breaks the row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from src.config import AlarmConfig, RuleConfig
from src.config.dotted import is_dotted, load
from src.run import renamed

PREFIX = "alarm/"
# What only says something where trajectories may run code.
_OF_EXECUTIONS = (
    *("executions_per_trajectory", "budget_exhausted_rate", "tool_use_rate"),
    *("execution_failure_rate", "accuracy_after_failure"),
)


class AlarmError(RuntimeError):
    """A rule whose action is to stop has fired; the message says which, why and what to look at."""


@dataclass(frozen=True)
class Alarm:
    """A rule that fires at a step, and the metric's value there."""

    rule: RuleConfig
    step: int
    value: float

    def __str__(self) -> str:
        bound = "above" if self.rule.above is not None else "below"
        limit = self.rule.above if self.rule.above is not None else self.rule.below
        row = f" for {self.rule.steps} steps" if self.rule.steps > 1 else ""
        return (
            f"alarm {self.rule.name} at step {self.step}: {self.rule.metric} is {self.value:.4g}, {bound} "
            f"{limit:g}{row}; {self.rule.message}"
        )


class Alarms:
    """Follows a run's metrics.

    Args:
        rules: what is looked at.
        tools: whether trajectories may run code; otherwise rules about executions never fire, nor do they
            at a step whose budget is 0.
    """

    def __init__(self, rules: Sequence[RuleConfig], *, tools: bool = True) -> None:
        # of a run that an earlier version began
        self._rules = [replace(rule, metric=renamed.metric(rule.metric)) for rule in rules]
        self._tools = tools
        self._values = {rule.name: _value_of(rule.metric) for rule in self._rules}
        self._row = dict.fromkeys((rule.name for rule in rules), 0)

    def check(self, step: int, metrics: Mapping[str, float]) -> list[Alarm]:
        """Take note of a step; return the rules that fire at it, again at every further step of their row."""
        found = []
        code = self._tools and metrics.get("budget") != 0
        for rule in self._rules:
            known = code or rule.metric not in _OF_EXECUTIONS
            value = self._values[rule.name](metrics) if known else None
            self._row[rule.name] = (
                self._row[rule.name] + 1 if value is not None and _passed(rule, value) else 0
            )
            if value is not None and self._row[rule.name] >= rule.steps:
                found.append(Alarm(rule, step, value))
        return found

    def metrics(self, fired: Sequence[Alarm]) -> dict[str, float]:
        """Return 1 for every rule that fires and 0 for the others, to be logged."""
        names = {alarm.rule.name for alarm in fired}
        return {f"{PREFIX}{rule.name}": float(rule.name in names) for rule in self._rules}


def stop_if_asked(fired: Sequence[Alarm]) -> None:
    """Raise AlarmError for the rules among ``fired`` whose action is to stop."""
    stopping = [str(alarm) for alarm in fired if alarm.rule.action == "stop"]
    if stopping:
        raise AlarmError("; ".join(stopping))


def build_alarms(cfg: AlarmConfig, *, tools: bool = True) -> Alarms:
    """Return the alarms of a configuration, for trajectories with or without ``tools``."""
    return Alarms(cfg.rules, tools=tools)


def _value_of(metric: str) -> Callable[[Mapping[str, float]], float | None]:
    """Return how the value of a rule comes from the metrics of a step."""
    if is_dotted(metric):
        found: Callable[[Mapping[str, float]], float | None] = load("alarm.rules[].metric", metric)
        return found
    return lambda metrics: metrics.get(metric)


def _passed(rule: RuleConfig, value: float) -> bool:
    """Whether a value is beyond the rule's bound; nan is beyond every one."""
    if value != value:
        return True
    return (rule.above is not None and value > rule.above) or (rule.below is not None and value < rule.below)
