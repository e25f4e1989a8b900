"""Progress where there is no terminal: a line now and then, and none in a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from src.run.progress import ReportingProgress, duration
from tests.run.test_status import Clock


def lines(terminal: bool, seconds: float) -> tuple[list[str], list[tuple[str, float, float | None]]]:
    """What 100 parts print of which each takes so many seconds; and what the listener hears."""
    output, clock, heard = io.StringIO(), Clock(), []
    console = Console(file=output, force_terminal=terminal, width=100)
    bar = ReportingProgress(
        console=console, clock=clock, listener=lambda what, done, total, _: heard.append((what, done, total))
    )
    task = bar.add_task("evaluating [free]", total=100, completed=10)
    for _ in range(90):
        clock.now += seconds
        bar.advance(task)
    return output.getvalue().splitlines(), heard


def test_a_log_file_gets_a_line_every_half_minute() -> None:
    printed, heard = lines(terminal=False, seconds=2)
    assert printed[:2] == [
        "evaluating [free]: 25 of 100 (25%), 0.5/s, 2 min left",
        "evaluating [free]: 40 of 100 (40%), 0.5/s, 2 min left",
    ]
    assert len(printed) == 90 * 2 // 30
    assert heard[-1] == ("evaluating [free]", 100, 100)
    assert len(heard) == 90


def test_what_is_quick_prints_none() -> None:
    assert lines(terminal=False, seconds=0.1)[0] == []


def test_a_terminal_has_the_bar_alone() -> None:
    printed, heard = lines(terminal=True, seconds=60)
    assert printed == []
    assert len(heard) == 90


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (3599, "1 h 00 min"), (12_000, "3 h 20 min"),
     (180_000, "2.1 days")],
)  # fmt: skip
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words
