"""Console output: a line per step and a progress bar during a run, tables at its end."""

from __future__ import annotations

import sys
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from src.run.progress import Listener, ReportingProgress

# Counts in an evaluation's results, and their effect on its accuracy.
_ENDED_EARLY = {
    "stragglers": "trajectories, the longest, were ended by rollout.max_seconds and graded as they were",
    "infrastructure": "trajectories were lost to the infrastructure and are left out (n without them)",
}

# Wide enough for the step lines when the output goes to a file.
console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else 120)


class MeterColumn(ProgressColumn):
    """Column for running trajectories, tokens/s and executions/s, from the task's ``meter`` field."""

    def render(self, task: Task) -> Text:
        """See ProgressColumn."""
        owner = task.fields.get("meter")  # an object whose ``meter`` is that of the current rollout
        return Text(owner.meter.line() if owner is not None and owner.meter.live else "")


def progress(listener: Listener | None = None) -> Progress:
    """Return a progress bar with count, rate and remaining time, in a log file lines; a context manager.

    Args:
        listener: called whenever a task is advanced.
    """
    return ReportingProgress(
        TextColumn("{task.description}"),
        MeterColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(show_speed=True),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        listener=listener,
    )


def step_line(step: int, steps: int, metrics: dict[str, float]) -> str:
    """Return one line about a rollout step, counted from 0 as in the records."""
    parts = [
        f"step {step:>3} ({step + 1}/{steps} done)",
        f"reward {metrics['reward']:+.3f}",
        f"accuracy {metrics['accuracy']:.3f}",
        f"budget {metrics['budget']:.0f}",
        f"executions {metrics['executions_per_trajectory']:.2f}",
        f"failing {metrics.get('execution_failure_rate', 0.0):.2f}",
        f"tokens {metrics['tokens/policy']:.0f}",
        f"entropy {metrics.get('entropy', float('nan')):.3f}",
        f"grad {metrics.get('grad_norm', float('nan')):.2f}",
        f"{metrics['seconds/step']:.1f} s",
    ]
    return "  ".join(parts)


def percent(result: dict[str, Any] | None, kind: str = "") -> str:
    """Return an accuracy with its interval, such as ``43.2 % [38.4, 48.1]``.

    Args:
        result: of an evaluation.
        kind: ``_lenient`` for the accuracy of lenient grading.
    """
    if result is None or result.get(f"accuracy{kind}") is None or f"interval{kind}" not in result:
        return "-"
    low, high = result[f"interval{kind}"]
    return f"{100 * result[f'accuracy{kind}']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def _left_out(evaluations: dict[str, dict[str, Any]]) -> list[str]:
    """Return warnings about accuracies that are biased because long trajectories were ended early."""
    found = []
    for title, results in evaluations.items():
        for mode, result in results.items():
            for name, effect in _ENDED_EARLY.items():
                if result.get(name):
                    found.append(f"{title}, {mode}: {result[name]} {effect}")
            if result.get("lost_as_wrong"):
                found[-1] += f"; with them as wrong: {percent(result['lost_as_wrong'])}"
    return found


def span(fewest: int, most: int) -> str:
    """Return the number of trajectories per problem, such as ``8`` or, if some are missing, ``6-8``."""
    return f"{fewest:,}" if most == fewest else f"{fewest:,}-{most:,}"


def size(problems: int, fewest: int, most: int) -> str:
    """Return ``problems x trajectories per problem``, such as ``120 x 8``."""
    return f"{problems:,} x {span(fewest, most)}"


def comparison(evaluations: dict[str, dict[str, Any]]) -> Table:
    """Return a table of accuracies by mode and subject.

    Args:
        evaluations: results by the title of their column; the last one determines modes and subjects.
    """
    title = "Accuracy on held-out problems, 95 % intervals; n: problems x trajectories"
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False)
    for column in ("mode", "subject", "n", *evaluations):
        table.add_column(column, justify="right" if column == "n" else "left", no_wrap=True)
    *_, last = evaluations.values()
    table.caption = "; ".join(_left_out(evaluations)) or None
    for mode, results in last.items():
        found = [evaluation.get(mode) for evaluation in evaluations.values()]
        table.add_row(mode, "all", _size(results), *map(percent, found), style="bold")
        if any("interval_lenient" in (result or {}) for result in found):
            table.add_row("", "all, lenient", "", *(percent(result, "_lenient") for result in found))
        for subject, result in results["by_subject"].items():
            cells = [percent(whole["by_subject"].get(subject) if whole else None) for whole in found]
            table.add_row("", subject, _size(result), *cells)
        table.add_section()
    return table


def evaluation_curve(points: list[dict[str, Any]]) -> Table:
    """Return a table of the first, the last and the best accuracy of each benchmark and mode.

    Args:
        points: ``step, benchmark, mode, accuracy, interval, ...`` of each evaluation, by step.
    """
    table = Table(title="Accuracy over training, 95 % intervals", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("benchmark", "mode", "n", "first", "last", "best", "steps"):
        table.add_column(column, justify="right" if column == "n" else "left", no_wrap=True)
    curves: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for point in points:
        if point["accuracy"] is not None:
            curves.setdefault((point["benchmark"], point["mode"]), []).append(point)
    for (benchmark, mode), curve in curves.items():
        best = max(curve, key=lambda point: float(point["accuracy"]))
        cells = [f"{percent(point)} at {point['step']}" for point in (curve[0], curve[-1], best)]
        table.add_row(benchmark, mode, _size(curve[-1]), *cells, str(len(curve)))
    table.caption = "best: chosen on these very problems, so it is too high; report the last, or the curve"
    return table


def _size(result: dict[str, Any]) -> str:
    if "problems" not in result:  # a run that was started before this was counted
        return f"{result['n']} trajectories"
    return size(result["problems"], *result["k"])
