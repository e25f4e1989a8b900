"""Alarms on metrics of rollout steps.

A rule has a metric, a bound and a number of consecutive steps in which the metric must be out of bounds; then
it warns, or stops the run. A step without the metric (no engine logprobs, say) resets the count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from src.config import AlarmConfig, RuleConfig
from src.config.dotted import is_dotted, load
from src.run import renamed

PREFIX = "alarm/"
# Meaningful only if trajectories may run code.
_OF_EXECUTIONS = (
    *("executions_per_trajectory", "budget_exhausted_rate", "tool_use_rate"),
    *("execution_failure_rate", "accuracy_after_failure"),
)


class AlarmError(RuntimeError):
    """A rule with action ``stop`` has fired; the message names the rule, its cause and its advice."""


@dataclass(frozen=True)
class Alarm:
    """A rule that fires at a step, and the value of its metric."""

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
    """Checks the rules at each step of a run.

    Args:
        rules: of the configuration.
        tools: whether trajectories may run code; if not, or if the budget of a step is 0, rules about
            executions do not fire.
    """

    def __init__(self, rules: Sequence[RuleConfig], *, tools: bool = True) -> None:
        # older runs have old names of metrics
        self._rules = [replace(rule, metric=renamed.metric(rule.metric)) for rule in rules]
        self._tools = tools
        self._values = {rule.name: _value_of(rule.metric) for rule in self._rules}
        self._row = dict.fromkeys((rule.name for rule in rules), 0)

    def check(self, step: int, metrics: Mapping[str, float]) -> list[Alarm]:
        """Return the rules that fire at this step; a rule keeps firing while its metric is out of bounds."""
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
        """Return 1 for every rule that fires and 0 for the others, for logging."""
        names = {alarm.rule.name for alarm in fired}
        return {f"{PREFIX}{rule.name}": float(rule.name in names) for rule in self._rules}


def stop_if_asked(fired: Sequence[Alarm]) -> None:
    """Raise AlarmError if a rule among ``fired`` has the action ``stop``."""
    stopping = [str(alarm) for alarm in fired if alarm.rule.action == "stop"]
    if stopping:
        raise AlarmError("; ".join(stopping))


def build_alarms(cfg: AlarmConfig, *, tools: bool = True) -> Alarms:
    """Return the alarms of a configuration, for trajectories with or without ``tools``."""
    return Alarms(cfg.rules, tools=tools)


def _value_of(metric: str) -> Callable[[Mapping[str, float]], float | None]:
    """Return the function that computes a rule's value from the metrics of a step."""
    if is_dotted(metric):
        found: Callable[[Mapping[str, float]], float | None] = load("alarm.rules[].metric", metric)
        return found
    return lambda metrics: metrics.get(metric)


def _passed(rule: RuleConfig, value: float) -> bool:
    """Whether a value is out of the rule's bound; nan always is."""
    if value != value:
        return True
    return (rule.above is not None and value > rule.above) or (rule.below is not None and value < rule.below)
