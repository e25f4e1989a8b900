"""Draws the state of a run for a terminal."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from analysis.live import KILLED, UNKNOWN, Frame
from src.run.console import percent
from src.run.progress import duration
from src.run.records import TrajectoryRecord
from src.run.status import FAILED, FINISHED, INTERRUPTED, RUNNING

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH = 40  # of a sparkline
_BAR = 60  # width of the progress bar
_SHOWN_ALARMS = 5
_STYLES = {
    RUNNING: "bold cyan",
    FINISHED: "bold green",
    INTERRUPTED: "bold yellow",
    FAILED: "bold red",
    KILLED: "bold red",
    UNKNOWN: "bold",
}
# Would move the cursor, change the terminal or reverse the text: C0 and C1 controls, bidirectional marks.
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def show(frame: Frame, metrics: Sequence[str], lines: int) -> RenderableType:
    """Return a picture of a run.

    Args:
        frame: its state.
        metrics: whose curves are shown.
        lines: most lines of the last trajectory.
    """
    parts: list[RenderableType] = [_head(frame)]
    activity = frame.status.get("activity") or {}
    if frame.state == RUNNING and activity.get("total"):
        parts.append(_bar(activity["done"] / activity["total"]))
    if frame.rows:
        parts.append(_curves(frame.rows, metrics))
    if frame.status.get("evaluations"):
        parts.append(_accuracies(frame.status["evaluations"]))
    for alarm in (frame.status.get("alarms") or [])[-_SHOWN_ALARMS:]:
        parts.append(Text(plain(str(alarm["message"])), style="yellow"))
    if frame.last is not None and lines:
        parts.append(_trajectory(frame.last, lines))
    return Group(*parts)


def sparkline(values: Sequence[float | None], width: int = _WIDTH) -> str:
    """Return a curve as block characters, from the lowest to the highest value.

    Longer curves are averaged to ``width`` characters. A blank is a step without a finite value.
    """
    known = [None if value is None or not math.isfinite(value) else float(value) for value in values]
    number = min(width, len(known))
    means = []
    for index in range(number):
        part = known[index * len(known) // number : (index + 1) * len(known) // number]
        found = [value for value in part if value is not None]
        means.append(sum(found) / len(found) if found else None)
    finite = [value for value in means if value is not None]
    if not finite:
        return " " * number
    low, span = min(finite), max(finite) - min(finite)
    top = len(_BLOCKS) - 1
    return "".join(
        " " if value is None else _BLOCKS[round((value - low) / span * top) if span > 0 else top // 2]
        for value in means
    )


def plain(text: str) -> str:
    """Return ``text`` with every character that a terminal would obey as a visible ``\\x1b``."""
    return _CONTROL.sub(lambda found: found[0] if found[0] == "\t" else ascii(found[0])[1:-1], text)


def _head(frame: Frame) -> Text:
    status, text = frame.status, Text()
    text.append(f"{frame.folder}\n")
    text.append(frame.state, style=_STYLES.get(frame.state, "bold"))
    steps = status.get("steps")
    done = status.get("step", len(frame.rows))
    if steps is not None or frame.rows:
        text.append(f"  step {done} of {steps}" if steps is not None else f"  {done} steps")
    if frame.state == RUNNING:
        activity = status.get("activity") or {}
        text.append(f"  {plain(str(activity.get('what')))}")
        if activity.get("total") and activity.get("what") != "training":
            text.append(f" {activity['done']:,.0f} of {activity['total']:,.0f}")
        if status.get("seconds_left") is not None:
            left = max(0.0, status["seconds_left"] - (frame.silent or 0.0))
            text.append(f"  {duration(left)} left")
    if frame.silent is not None and frame.state != FINISHED:
        text.append(f"  (last word {duration(max(0.0, frame.silent))} ago)", style="dim")
    if status.get("error"):
        text.append(f"\n{plain(str(status['error']))}", style="red")
    if frame.state == KILLED:
        text.append("\nno process holds the folder: the run was killed; trainer.resume goes on", style="red")
    return text


def _bar(share: float) -> Text:
    full = round(min(1.0, max(0.0, share)) * _BAR)
    return Text.assemble(("━" * full, "cyan"), ("─" * (_BAR - full), "dim"), f" {share:.0%}")


def _curves(rows: Sequence[dict[str, Any]], metrics: Sequence[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("metric", "curve", "first", "last", "lowest", "highest"):
        table.add_column(column, justify="left" if column in ("metric", "curve") else "right", no_wrap=True)
    for metric in metrics:
        values = [row.get(metric) for row in rows]
        finite = [value for value in values if value is not None and math.isfinite(value)]
        if finite:
            numbers = (finite[0], finite[-1], min(finite), max(finite))
            table.add_row(metric, sparkline(values), *(f"{number:.4g}" for number in numbers))
    return table


def _accuracies(points: Sequence[dict[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("benchmark", "mode", "step", "accuracy"):
        table.add_column(column, justify="right" if column == "step" else "left", no_wrap=True)
    for point in points:
        table.add_row(Text(plain(point["benchmark"])), point["mode"], str(point["step"]), percent(point))
    return table


def _trajectory(record: TrajectoryRecord, lines: int) -> Text:
    """Return the end of a trajectory: feedback is dim, programs that were run are named in the head."""
    reward = "none" if record.rewards is None else f"{record.rewards['total']:+.2f}"
    verdict = "correct" if record.correct else "wrong"
    head = (
        f"last trajectory: {record.phase}, step {record.step}, problem {record.problem_id}, {record.mode}, "
        f"{len(record.executions)} executions, {record.stop_reason}, answer {record.answer!r} to "
        f"{record.gold!r}: {verdict}, reward {reward}"
    )
    whole = Text(plain(head), style="bold")
    body = Text()
    for segment in record.segments:
        body.append(plain(segment.text), style="" if segment.author == "policy" else "dim")
    pieces = body.split("\n", allow_blank=True)
    if len(pieces) > lines:
        whole.append(f"\n... {len(pieces) - lines} lines before", style="dim")
    for piece in pieces[-lines:]:
        whole.append("\n")
        whole.append_text(piece if len(piece) <= 500 else piece[:500])
    return whole
