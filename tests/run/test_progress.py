"""Progress where there is no terminal: a line now and then, and none in a terminal."""

from __future__ import annotations

import io
import threading
import time

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


class Owner:
    """Has the meter of a rollout."""

    class meter:
        live = 3

        @staticmethod
        def line() -> str:
            return "3 live, 70 tokens/s"


def test_a_log_file_says_that_a_slow_rollout_is_alive_before_anything_is_finished() -> None:
    output, clock = io.StringIO(), Clock()
    bar = ReportingProgress(console=Console(file=output, width=100), clock=clock)
    bar.add_task("evaluating, free", total=8, meter=Owner())
    bar.add_task("training", total=2, lines=False)
    bar.add_task("hidden", total=2, visible=False)
    for _ in range(7):
        clock.now += 10
        bar.report()
    assert output.getvalue().splitlines() == ["evaluating, free: 0 of 8 (0%), 3 live, 70 tokens/s"] * 2


def test_the_lines_come_by_themselves_and_end_with_the_bar() -> None:
    output = io.StringIO()
    with ReportingProgress(console=Console(file=output, width=100), every=0.01) as bar:
        bar.add_task("evaluating", total=8)
        deadline = time.monotonic() + 60
        while output.getvalue().count("evaluating: 0 of 8") < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert not any(one is bar._thread for one in threading.enumerate())


def test_a_terminal_gets_no_lines_from_the_clock() -> None:
    output, clock = io.StringIO(), Clock()
    bar = ReportingProgress(console=Console(file=output, width=100, force_terminal=True), clock=clock)
    bar.add_task("evaluating", total=8)
    clock.now += 100
    bar.report()
    assert output.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (3599, "1 h 00 min"), (12_000, "3 h 20 min"),
     (180_000, "2.1 days")],
)  # fmt: skip
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words
