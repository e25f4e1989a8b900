"""The grading processes: limits, deaths, threads, orphans. What they compare is for test_equivalence.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from src.config.paths import ROOT
from src.rewards import grader as grader_module
from src.rewards.grader import Grade, Grader, GraderError

ENDLESS = ("x", "9^{9^{9}}")  # computed in C, where no signal handler of Python's runs
EASY = [(r"\sqrt{8}", r"2\sqrt{2}"), (r"\sqrt{8}", r"3\sqrt{2}"), ("x^2", "x x"), ("(1,2)", "(2,1)")]
EASY_GRADES = [Grade(True), Grade(False), Grade(True), Grade(False)]


def children(parent: int | None = None) -> set[int]:
    """Process ids of the grading processes that ``parent`` (default: this process) started."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"src.rewards.grading_child" in arguments and str(parent or os.getpid()).encode() in arguments:
            found.add(int(path.parent.name))
    return found


def ready(processes: set[int]) -> set[int]:
    """Those of ``processes`` that have limited their memory, which they do when ready."""
    found = set()
    for process in processes:
        lines = Path(f"/proc/{process}/limits").read_text().splitlines()
        if not any(line.startswith("Max address space") and "unlimited" in line for line in lines):
            found.add(process)
    return found


def wait_for(condition: Callable[[], bool], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(2, 20.0) as grader:
        yield grader


def test_order_and_repetition_are_kept(grader: Grader) -> None:
    assert grader.grade([]) == []
    assert grader.grade(EASY) == EASY_GRADES
    assert grader.grade(EASY[::-1] + EASY) == EASY_GRADES[::-1] + EASY_GRADES


def test_gold_comes_first(grader: Grader) -> None:
    assert grader.grade([("x=5", "2x+y=5"), ("2x+y=5", "5")]) == [Grade(False), Grade(False)]
    assert grader.grade([("5", "1+4=5"), ("1+4=5", "6")]) == [Grade(True), Grade(False)]


def test_known_and_plain_pairs_need_no_process(grader: Grader) -> None:
    grader.grade(EASY)
    before = grader.stats()["compared"]
    plain = [
        ("7", "7"),
        ("7", "8"),
        ("0.5", "1/2"),
        (r"\frac{1}{2}", "-0.5"),
        ("x+1", " x+1 "),
        ("7", None),
        ("7", " "),
    ]
    assert [grade.correct for grade in grader.grade(plain)] == [True, False, True, False, True, False, False]
    assert grader.grade(EASY) == EASY_GRADES
    assert grader.stats()["compared"] == before


def test_an_endless_answer_is_too_long_to_compare(grader: Grader) -> None:
    before = grader.stats()["compared"]
    assert grader.grade([("x", "x+" * 500_000 + "0")]) == [Grade(False)]
    assert grader.stats()["compared"] == before


def test_hostile_text_is_wrong_and_harmless(grader: Grader) -> None:
    answers = [
        "\ud800",
        "\n",
        "a\nb",
        "\\" * 99,
        "{" * 99,
        "(" * 30,
        "\x00",
        '"]',
        "\\frac",
        "\\boxed{5}}",
        "%s",
        "__import__('os')",
    ]
    assert not any(grade.correct for grade in grader.grade([("12", answer) for answer in answers]))
    assert grader.stats()["crash"] == 0


def test_use_from_many_threads(grader: Grader) -> None:
    def job(number: int) -> list[Grade]:
        return grader.grade([(f"x+{number}", f"{number}+x"), (f"x+{number}", f"{number}-x")])

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(job, range(8))) == [[Grade(True), Grade(False)]] * 8


def test_the_cache_is_bounded(grader: Grader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grader_module, "_CACHED", 3)
    grader._cache.clear()
    grader.grade([("x", f"x+{number}") for number in range(1, 6)])
    assert len(grader._cache) == 3


def test_a_child_that_dies_is_replaced_and_the_pair_retried(grader: Grader) -> None:
    grader.grade([("x", "x+x")])
    for child in children():
        os.kill(child, signal.SIGKILL)
    assert grader.grade([("y", "2y/2"), ("y", "2y/3"), ("y", "2y-y")]) == [
        Grade(True),
        Grade(False),
        Grade(True),
    ]
    assert grader.stats()["crash"] == 0


def test_children_that_died_idle_are_no_pairs_fault() -> None:
    """One thread asks, so that a pair meets every dead child by itself."""
    with Grader(1, 20.0) as grader:
        for _ in range(2):
            grader._start_child()
        for number in range(3):  # by turns
            assert grader.grade([("x", f"x+{number}x")]) == [Grade(number == 0)]
        killed = [child._process for child in grader._children]
        for process in killed:
            process.kill()
        for process in killed:
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert grader.grade([("y", "2y/2")]) == [Grade(True)]
        assert grader.stats()["crash"] == 0


def test_an_endless_comparison_is_killed_and_counted() -> None:
    others = children()
    with Grader(2, 2.0) as grader:
        pairs = [ENDLESS, ("x", "2^{9^{9^{9}}}"), *EASY, ENDLESS]
        start = time.monotonic()
        grades = grader.grade(pairs)
        assert time.monotonic() - start < 60
        assert grades == [Grade(False, "timeout")] * 2 + EASY_GRADES + [Grade(False, "timeout")]
        assert grader.stats()["timeout"] == 2  # the repeated pair was graded once
        assert grader.grade([("y^2", "y y")]) == [Grade(True)]
        assert len(children() - others) == 2


def test_a_timeout_is_tried_again_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that is too busy for the first two tries."""
    tries: list[str | None] = []

    def compare(_: Grader, gold: str, answer: str | None) -> Grade:
        tries.append(answer)
        return Grade(False, "timeout") if answer == "never" or len(tries) <= 2 else Grade(True)

    monkeypatch.setattr(Grader, "_compare", compare)
    with Grader(1, 20.0) as grader:
        grades = [grader.grade([("x", "late")])[0] for _ in range(4)]
        assert grades == [Grade(False, "timeout")] * 2 + [Grade(True)] * 2
        assert tries == ["late"] * 3
        grades = [grader.grade([("x", "never")])[0] for _ in range(5)]
        assert grades == [Grade(False, "timeout")] * 5
        assert tries.count("never") == 3
        assert grader.stats()["timeout"] == 5


def test_a_stopped_child_is_replaced_and_the_pair_graded() -> None:
    with Grader(1, 2.0) as grader:
        assert grader.grade(EASY[:1]) == EASY_GRADES[:1]
        (child,) = grader._children
        os.kill(child._process.pid, signal.SIGSTOP)
        assert grader.grade([("x^3", "x x x")]) == [Grade(True)]
        assert child not in grader._children
        assert grader.stats()["timeout"] == 0


def test_a_pair_that_kills_two_children_is_a_crash() -> None:
    others = children()
    with Grader(1, 60.0) as grader, ThreadPoolExecutor(1) as thread:
        assert grader.grade([("y^2", "y y")]) == [Grade(True)]
        grade = thread.submit(grader.grade, [ENDLESS])
        for _ in range(2):
            wait_for(lambda: len(ready(children() - others)) == 1)
            time.sleep(1)  # it has read the request
            (child,) = children() - others
            os.kill(child, signal.SIGKILL)
            wait_for(lambda gone=child: gone not in children())
        assert grade.result(60) == [Grade(False, "crash")]
        assert grader.stats()["crash"] == 1


def test_math_verify_has_the_same_limits() -> None:
    """Its own alarms do not disturb those of the process; the verdicts are math-verify's."""
    others = children()
    with Grader(2, 4.0, mode="math_verify") as grader:
        pairs = [("x^2", "x x"), (r"\frac{1}{3}", "0.3333333"), ("5", "x=5"), ("5", "6"), ("7", "7"), ENDLESS]
        assert [grade.correct for grade in grader.grade(pairs)] == [True, True, True, False, True, False]
        assert grader.grade([("y^2", "y y")]) == [Grade(True)]
        assert grader.readable(["x^2", ""]) == [True, False]
        assert len(children() - others) == 2
    with Grader(1, 20.0) as exact:
        assert exact.grade([(r"\frac{1}{3}", "0.3333333")]) == [Grade(False)]
    with pytest.raises(ValueError, match="choose one of exact, math_verify"):
        Grader(1, 1.0, mode="other")


def test_memory_is_limited() -> None:
    with Grader(1, 60.0, memory_mb=300) as grader:
        grades = grader.grade([("x", r"2^{8 \cdot 10^9}"), ("y^2", "y y")])
    assert not grades[0].correct
    assert grades[0].failure != "timeout"
    assert grades[1] == Grade(True)


def test_closing_ends_the_processes_and_what_they_do() -> None:
    before = children()
    with ThreadPoolExecutor(1) as thread:
        grader = Grader(2, 60.0)
        grader.grade([("y^2", "y y")])
        grade = thread.submit(grader.grade, [ENDLESS])
        time.sleep(1)
        grader.close()
        with pytest.raises(GraderError, match="closed"):
            grade.result(30)
    assert children() == before
    grader.close()


def test_a_process_that_cannot_start_is_an_error_that_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grader_module, "ROOT", tmp_path)
    with Grader(1, 5.0) as grader, pytest.raises(GraderError, match="No module named 'src'"):
        grader.grade([("x", "y")])


@pytest.mark.parametrize("pair", [("y^2", "y y"), ENDLESS], ids=["idle", "busy"])
def test_no_process_outlives_a_killed_parent(pair: tuple[str, str]) -> None:
    program = (
        "import sys, time\n"
        "from src.rewards import Grader\n"
        "grader = Grader(2, 2.0)\n"
        "grader.grade([('x', '2x')])\n"
        "print('ready', flush=True)\n"
        f"grader.grade([{pair!r}])\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        time.sleep(0.5)
        assert children(parent.pid)
        parent.kill()
        parent.wait()
        wait_for(lambda: not children(parent.pid))


def test_neither_side_imports_torch() -> None:
    for module, absent in (
        ("src.rewards", "{'torch', 'sympy', 'hydra'}"),
        ("src.rewards.equivalence", "{'torch'}"),
    ):
        program = f"import sys, {module}; assert not {absent} & set(sys.modules)"
        subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
