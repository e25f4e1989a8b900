"""Whatever a program does, its failure is its own, never the infrastructure's, which nobody grades."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from src.config import EvaluateConfig, RolloutConfig, SandboxConfig
from src.experiment.evaluation.evaluator import Evaluator
from src.experiment.evaluation.results import Results
from src.rewards import Grader
from src.run.records import Occasion, RecordWriter
from src.sandbox import InfrastructureError, Status, build_sandbox
from src.sandbox.pool import WorkerPool
from tests.fakes import BPE, ScriptedEngine, environment, problem
from tests.jails import asked_jails
from tests.rollout.test_scheduler import script
from tests.sandbox.helpers import cold

LIMITS = {"wall_seconds": 1.0, "cpu_seconds": 0.7, "memory_mb": 96, "trajectory_seconds": 8.0}

FAILURES = {
    "an exception": "1/0",
    "a syntax error": "x = = 1",
    "an exit code": "import os\nos._exit(3)",
    "no end": "while True: pass",
    "sleep": "import time\ntime.sleep(9)",
    "processor time of threads": """
import threading
for _ in range(4): threading.Thread(target=lambda: [None for _ in iter(int, 1)]).start()
""",
    "memory of objects": "x = [bytes(10**6) for _ in range(10**4)]",
    "memory at once": "bytearray(1 << 40)",
    "memory of mappings": """
import mmap
kept = []
while True:
    kept.append(mmap.mmap(-1, 1 << 20))
    kept[-1][::4096] = bytes(256)
""",
    "memory of files mapped by a page": """
import mmap, os
kept = []
for n in range(10**4):
    fd = os.open(str(n), os.O_RDWR | os.O_CREAT)
    os.write(fd, bytes(1 << 20))
    kept.append(mmap.mmap(fd, 4096))
    os.close(fd)
    os.unlink(str(n))
""",
    "memory of nameless files": """
import os
kept = [os.memfd_create(str(n)) for n in range(10**4)]
for fd in kept: os.write(fd, bytes(1 << 20))
""",
    "memory of pipes": """
import os
while True:
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    os.write(theirs, bytes(1 << 20))
""",
    "files": "for n in range(10**5): open(str(n), 'w').write('x')\nimport time\ntime.sleep(9)",
    "one large file": "open('a', 'wb').write(bytes(1 << 30))",
    "folders in folders": "import os\nfor _ in range(10**4): os.mkdir('d'); os.chdir('d')\nwhile True: pass",
    "output": "while True: print('x' * 10**5)",
    "threads": """
import threading, time
for _ in range(500): threading.Thread(target=time.sleep, args=(9,)).start()
""",
    "recursion in C": "import sys\nsys.setrecursionlimit(10**9)\ndef f(n): return f(n + 1)\nf(0)",
    "a segmentation fault": "import ctypes\nctypes.string_at(0)",
    "an abort": "import os\nos.abort()",
    "stopping itself": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    "a report of its own": """
import os
os.write(3, b'{"status": "infrastructure", "error": null}\\n')
os._exit(0)
""",
    "an endless report": "import os\nwhile True: os.write(3, b'x' * 65536)",
    "a report that is no JSON": "import os\nos.write(3, b'[' * 10**5 + b'\\n')\nos._exit(0)",
    "no report": "import os\nos.close(3)",
    "no descriptors": "import os\nos.closerange(0, 64)\nwhile True: pass",
    "no modules": "import sys, builtins\nsys.modules.clear()\nbuiltins.__dict__.clear()",
    "an error that cannot be shown": "class E(Exception):\n    def __str__(self): raise self\nraise E",
    "an error without end": "raise ValueError('x' * 10**7)",
    "a lone surrogate": "print('\\ud800')\nraise ValueError('\\ud800')",
    "memory that is not given back at once": """
kept = bytearray(80 << 20)
import mmap, os
while True: pass
""",
    "signals to the worker": """
import os
for pid in [1, os.getppid(), *range(2, 40)]:
    for number in (9, 15, 19, 11):
        try: os.kill(pid, number)
        except OSError: pass
raise SystemExit(1)
""",
    "killing its group": "import os, signal\nos.killpg(0, signal.SIGKILL)\nos.kill(0, signal.SIGKILL)",
    "an alarm": "import signal\nsignal.alarm(1)\nimport time\ntime.sleep(5)",
}
EARLIER_THAT_DIFFER = {  # well at first, and not when they are run again
    "an error": "import time\nassert time.time() < {until}",
    "an exit": "import os, time\nif time.time() > {until}: os._exit(0)",
    "no end": "import time\nwhile time.time() > {until}: pass",
    "a signal": "import os, signal, time\nif time.time() > {until}: os.kill(os.getpid(), signal.SIGKILL)",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "stateful" in metafunc.fixturenames:
        again = metafunc.function is test_nor_is_the_failure_of_an_earlier_program_that_is_run_again
        cases = [
            pytest.param((jail, state), marks=getattr(pytest.mark, jail), id=f"{jail}-{state}")
            for jail in asked_jails(metafunc.config)
            for state in ("fresh", "replay", "session")[again:]
        ]
        metafunc.parametrize("stateful", cases, indirect=True, scope="module")


@pytest.fixture(scope="module")
def stateful(request: pytest.FixtureRequest) -> Iterator[WorkerPool]:
    jail, state = request.param
    with build_sandbox(cold(jail=jail, state=state, workers=1, sessions=4, **LIMITS)) as sandbox:
        assert isinstance(sandbox, WorkerPool)
        yield sandbox


@pytest.mark.parametrize("failure", FAILURES)
def test_a_programs_failure_is_its_own(stateful: WorkerPool, failure: str) -> None:
    """At first, and on top of a state; then the worker serves the next trajectory, and has been kept."""
    workers, began = stateful.pids(), time.monotonic()
    trajectory = f"failing: {failure}"
    results = [stateful.run(FAILURES[failure], trajectory=trajectory)]
    stateful.run("x = 1", trajectory=trajectory)
    results.append(stateful.run(FAILURES[failure], trajectory=trajectory))
    stateful.end(trajectory)
    assert Status.INFRASTRUCTURE not in {result.status for result in results}, results
    assert stateful.run("print(2)", trajectory="innocent").stdout == "2\n"
    assert stateful.stats()["infrastructure"] == 0
    assert stateful.pids() == workers, "it ended its worker"
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("difference", EARLIER_THAT_DIFFER)
def test_nor_is_the_failure_of_an_earlier_program_that_is_run_again(
    stateful: WorkerPool, difference: str
) -> None:
    """The state is lost where the worker was replaced; innocent trajectories keep theirs."""
    guilty, innocent = f"differs: {difference}", f"beside: {difference}"
    text = EARLIER_THAT_DIFFER[difference].format(until=time.time() + 1.0)
    assert stateful.run(text, trajectory=guilty).status is Status.OK
    assert stateful.run("import time\nseen = time.time()", trajectory=innocent).status is Status.OK
    if stateful._cfg.state == "session":
        for number in range(4):  # more than live at once: the guilty one is run again
            stateful.run("0", trajectory=f"filler {difference} {number}")
        assert stateful.run("seen < time.time()", trajectory=innocent).stdout == "True\n"
    time.sleep(1.0)
    workers = stateful.pids()
    result = stateful.run("print(1)", trajectory=guilty)
    assert (result.status, result.stdout) == (Status.ERROR, "")
    assert "program 1 of this trajectory, run again for its state, failed" in (result.error or "")
    assert stateful.pids() == workers
    assert stateful.run("print(seen > 0)", trajectory=innocent).stdout == "True\n"
    assert stateful.stats()["infrastructure"] == 0


def test_running_again_is_limited_and_counted() -> None:
    """Each program by how long it took at first; all of it by the trajectory's seconds."""
    limits = LIMITS | {"wall_seconds": 2.0, "cpu_seconds": 9.0, "trajectory_seconds": 3.0}
    with build_sandbox(cold(jail="unconfined", state="replay", workers=1, **limits)) as sandbox:
        for _ in range(2):
            assert sandbox.run("import time\ntime.sleep(0.5)", trajectory="a").status is Status.OK
        result = sandbox.run("print(1)", trajectory="a")
        assert result.status is Status.OK
        assert 0.9 < result.replay_seconds < 2.5
        assert result.seconds < 0.5
        assert sandbox.stats()["replay_seconds"] > 0.9
        results = [sandbox.run("print(1)", trajectory="a") for _ in range(3)]
        assert results[-1].status is Status.TIMEOUT
        assert "3 s of its trajectory are used up" in (results[-1].error or "")


def test_programs_without_end_that_wait_for_each_other_all_end_as_timeouts() -> None:
    with build_sandbox(cold(jail="unconfined", workers=1, deadline_seconds=1.0, wall_seconds=0.4)) as sandbox:
        futures = [sandbox.submit("while True: pass", trajectory=str(n)) for n in range(10)]
        assert {future.result().status for future in futures} == {Status.TIMEOUT}


def test_nor_do_they_make_others_late_when_each_takes_longer_than_the_deadline() -> None:
    with build_sandbox(cold(jail="unconfined", workers=1, deadline_seconds=0.3, wall_seconds=1.0)) as sandbox:
        futures = [sandbox.submit("while True: pass", trajectory=str(n)) for n in range(3)]
        assert {future.result().status for future in futures} == {Status.TIMEOUT}


def test_what_fails_before_a_program_begins_still_is_the_infrastructures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("src.sandbox.pool._START_PAUSES", (0.0,))
    with build_sandbox(cold(jail="unconfined", workers=1)) as sandbox:
        assert isinstance(sandbox, WorkerPool)

        def cannot() -> None:
            raise OSError("no more workers")

        monkeypatch.setattr(sandbox, "_make_lane", cannot)
        os.kill(sandbox.pids()[0], signal.SIGKILL)
        result = sandbox.run("print(1)")
        assert result.status is Status.INFRASTRUCTURE
        assert "no more workers" in (result.error or "")


ANSWERS = ["\\boxed{1}<|end|>"] * 2
PROGRAMS = [FAILURES[name] for name in ("no end", "memory at once", "a segmentation fault", "no report")]


def texts(programs: list[str]) -> list[str]:
    return [*ANSWERS, *(f"```python\n{program}\n```<|end|>" for program in programs)]


@pytest.mark.parametrize("state", ["fresh", "replay", "session"])
def test_the_accuracy_counts_every_failure(state: str, tmp_path: Path) -> None:
    """A scripted policy through the real collector and evaluation: 2 right of 10."""
    said = texts(PROGRAMS * 2)
    engine = ScriptedEngine([script(text, BPE, []) for text in said], min(BPE.eos_ids))
    problems = [problem(answer="1", name=f"p{n}") for n in range(10)]
    with (
        build_sandbox(cold(state=state, workers=1, **LIMITS)) as sandbox,
        Grader(1, 5.0) as grader,
        RecordWriter(tmp_path / "records.jsonl") as writer,
    ):
        parts = environment(sandbox=sandbox, grader=grader, rollout=RolloutConfig(max_tokens=2000))
        evaluator = Evaluator(engine, parts, EvaluateConfig(k=1, budget=2), writer)
        results, _ = evaluator.evaluate(problems, "free", Occasion("benchmark"))
    summary = results.summary()
    assert (summary["accuracy"], summary["n"], summary["infrastructure"]) == (0.2, 10, 0)
    results.refuse_losses(0.0, "mode free", "")


def test_an_evaluation_that_lost_many_is_refused_and_says_both_accuracies() -> None:
    from tests.rollout.test_metrics import RECORD

    results = Results()
    for number in range(10):
        one = replace(RECORD, problem_id=str(number), correct=number < 2)
        results.add(one if number < 4 else replace(one, stop_reason="infrastructure", correct=False))
    summary = results.summary()
    assert (summary["accuracy"], summary["n"], summary["infrastructure"]) == (0.5, 4, 6)
    assert (summary["lost_as_wrong"]["accuracy"], summary["lost_as_wrong"]["n"]) == (0.2, 10)
    results.refuse_losses(0.6, "mode free", "go on")
    with pytest.raises(InfrastructureError, match=r"6 of 10 trajectories \(mode free\).*then go on"):
        results.refuse_losses(0.5, "mode free", "go on")


def test_control_characters_do_not_reach_a_terminal() -> None:
    from src.sandbox.api import printable

    assert printable("\x1b[2Ja\tb\nc\x07\x9b\u202e") == "\\x1b[2Ja\tb\nc\\x07\\x9b\\u202e"
    assert SandboxConfig().deadline_seconds == 600
