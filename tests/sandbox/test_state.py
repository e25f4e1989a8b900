"""Interpreter state: what a program finds of its trajectory's earlier ones, by replay and by session."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from src.sandbox import SandboxError, Status, build_sandbox
from src.sandbox.pool import WorkerPool
from tests.sandbox.helpers import cold, descendants, eventually

LIMITS = {"workers": 2, "wall_seconds": 2.0, "trajectory_seconds": 5.0, "memory_mb": 128}

SEQUENCES = {
    "names": ["x = 1\nprint(x)", "x += 1\nx", "def f(): return x\nf()", "x = 5", "f()"],
    "an error undoes": ["x = [1]", "x.append(2)\n1/0", "x", "y", "x.append(3)", "x"],
    "a timeout undoes": ["x = 1", "x = 2\nwhile True: pass", "x"],
    "files": [
        "open('a', 'w').write('text')",
        "open('a').read()",
        "open('a', 'a').write('!')\n1/0",
        "open('a').read()",
    ],
    "modules": [
        "import math as m",
        "m.floor(2.5)",
        "import sys\nsys.setrecursionlimit(77)",
        "sys.getrecursionlimit()",
    ],
    "classes": [
        "class A: pass",
        "a = A()\nisinstance(a, A)",
        "import pickle\ntype(pickle.loads(pickle.dumps(a))) is A",
    ],
    "output is not repeated": ["print('once')", "print('twice')", "1"],
    "exits": ["x = 1", "x = 2\nraise SystemExit", "x", "exit(3)", "x"],
    "the interpreter ends": ["x = 1", "x = 2\nimport os\nos._exit(0)", "x"],
    "redirected output": [
        "import io, sys\nreal, sys.stdout = sys.stdout, io.StringIO()\nprint('lost')",
        "print('lost too')",
        "sys.stdout = real\nprint('seen')",
    ],
    "a syntax error": ["x = 1", "x = = 2", "x"],
    "main": ["def f(): pass\n__name__", "f.__module__", "import __main__\n__main__.f is f"],
    "threads": [
        "import threading, queue\nq, answers = queue.Queue(), queue.Queue()\n"
        "threading.Thread(target=lambda: answers.put(q.get() + 1), daemon=True).start()",
        "q.put(1)\nanswers.get()",
    ],
}


# The failed programs of these leave what they had defined.
NOTEBOOK = {
    "an error": (["x = [1]\nx.append(2)\n1/0", "x", "x.append(3)\ny", "x"], "[1, 2]\n", "[1, 2, 3]\n"),
    "a function": (["def f(): return 7\nf(", "def f(): return 8\nf() + g", "f()"], "8\n"),
    "an exit": (["x = 5\nexit(3)", "x"], "5\n"),
    "a file": (["open('a', 'w').write('text')\n1/0", "open('a').read()"], "'text'\n"),
    "a timeout": (["x = 1", "x = 2\nwhile True: pass", "x"], "1\n"),  # its process is ended
    "an end of the process": (["x = 1", "x = 2\nimport os\nos._exit(3)", "x"], "1\n"),
}


@pytest.fixture(scope="module")
def notebook(each_jail: str) -> Iterator[WorkerPool]:
    with build_sandbox(
        cold(jail=each_jail, state="session", undo=False, sessions=2, **LIMITS | {"workers": 1})
    ) as sandbox:
        assert isinstance(sandbox, WorkerPool)
        yield sandbox


@pytest.mark.parametrize("name", NOTEBOOK)
def test_a_failed_program_leaves_what_it_had_defined(notebook: WorkerPool, name: str) -> None:
    programs, *said = NOTEBOOK[name]
    assert isinstance(programs, list)
    results = run_all(notebook, programs, name)
    assert [stdout for status, stdout, _error in results if status is Status.OK and stdout] == said
    assert any(status is not Status.OK for status, _stdout, _error in results)


def test_what_failed_programs_left_outlives_a_lost_worker_and_crowding(notebook: WorkerPool) -> None:
    for code in ("x = [1]\n1/0", "x.append(2)", "x.append(3)\n1/0"):
        notebook.run(code, trajectory="t")
    for pid in notebook.pids():
        os.kill(pid, signal.SIGKILL)
    assert notebook.run("x", trajectory="t").stdout == "[1, 2, 3]\n"
    for other in "abc":  # more than the sessions that may live
        notebook.run("1", trajectory=other)
    result = notebook.run("x.append(4)\nx", trajectory="t")
    assert (result.stdout, result.kept) == ("[1, 2, 3, 4]\n", False)
    assert result.replay_seconds > 0
    assert notebook.stats()["infrastructure"] == 0
    for name in "tabc":
        notebook.end(name)


def test_functions_of_earlier_programs_keep_their_own_source(session: WorkerPool) -> None:
    for name in "fg":
        session.run(f"import inspect\ndef {name}(): pass", trajectory="t")
    said = session.run("print(inspect.getsource(f), inspect.getsource(g))", trajectory="t").stdout
    assert said == "def f(): pass\n def g(): pass\n\n"
    session.end("t")


@pytest.fixture(scope="module")
def replay(each_jail: str) -> Iterator[WorkerPool]:
    with build_sandbox(cold(jail=each_jail, state="replay", **LIMITS)) as sandbox:
        assert isinstance(sandbox, WorkerPool)
        yield sandbox


@pytest.fixture(scope="module")
def session(each_jail: str) -> Iterator[WorkerPool]:
    with build_sandbox(cold(jail=each_jail, state="session", sessions=3, **LIMITS)) as sandbox:
        assert isinstance(sandbox, WorkerPool)
        yield sandbox


def run_all(
    sandbox: WorkerPool, programs: list[str], trajectory: str
) -> list[tuple[Status, str, str | None]]:
    results = [sandbox.run(program, trajectory=trajectory) for program in programs]
    sandbox.end(trajectory)
    return [(result.status, result.stdout, result.error) for result in results]


@pytest.mark.parametrize("name", SEQUENCES)
def test_replay_and_session_agree(replay: WorkerPool, session: WorkerPool, name: str) -> None:
    assert run_all(replay, SEQUENCES[name], name) == run_all(session, SEQUENCES[name], name)


def test_what_the_sequences_say(session: WorkerPool) -> None:
    def outputs(name: str) -> list[str]:
        return [stdout or str(error) for _status, stdout, error in run_all(session, SEQUENCES[name], name)]

    assert outputs("names") == ["1\n", "2\n", "1\n".replace("1", "2"), "None", "5\n"]
    undone = ["None", "ZeroDivisionError: division by zero", "[1]\n", "NameError: name 'y' is not defined"]
    assert outputs("an error undoes") == [*undone, "None", "[1, 3]\n"]
    assert outputs("a timeout undoes") == ["None", "timed out after 2 s", "1\n"]
    assert outputs("files") == ["4\n", "'text'\n", "ZeroDivisionError: division by zero", "'text'\n"]
    assert outputs("output is not repeated") == ["once\n", "twice\n", "1\n"]
    assert outputs("exits") == ["None", "None", "2\n", "SystemExit: 3", "2\n"]
    assert outputs("the interpreter ends")[1:] == ["exited with code 0: what it had defined is gone", "1\n"]


def test_fresh_programs_share_nothing() -> None:
    with build_sandbox(cold(workers=1)) as sandbox:
        sandbox.run("x = 1\nopen('a', 'w').close()", trajectory="t")
        assert "NameError" in (sandbox.run("x", trajectory="t").error or "")
        assert sandbox.run("import os\nos.listdir('.')", trajectory="t").stdout == "[]\n"


@pytest.mark.parametrize("state", ["replay", "session"])
def test_trajectories_share_nothing(each_jail: str, state: str, request: pytest.FixtureRequest) -> None:
    sandbox = request.getfixturevalue(state)
    for name in "abcde":  # more than the sessions that may live
        sandbox.run(f"x = {name!r}\nopen({name!r}, 'w').close()", trajectory=name)
    for name in "abcde":
        result = sandbox.run("import os\nprint(x, os.listdir('.'))", trajectory=name)
        assert result.stdout == f"{name} ['{name}']\n"
    assert "NameError" in (sandbox.run("x").error or "")  # of nobody
    for name in "abcde":
        sandbox.end(name)
    assert "NameError" in (sandbox.run("x", trajectory="a").error or "")
    sandbox.end("a")


def test_programs_of_a_trajectory_run_in_order(session: WorkerPool, replay: WorkerPool) -> None:
    for sandbox in (session, replay):
        futures = [sandbox.submit("x = []", trajectory="t")]
        futures += [sandbox.submit(f"x.append({i})\nprint(x)", trajectory="t") for i in range(6)]
        assert [future.result().stdout for future in futures[1:]] == [
            f"{list(range(i + 1))}\n" for i in range(6)
        ]
        sandbox.end("t")


def test_a_session_keeps_what_cannot_be_replayed(session: WorkerPool) -> None:
    session.run("import random, time\nx = random.random(), time.monotonic_ns()", trajectory="t")
    first = session.run("print(x)", trajectory="t").stdout
    assert session.run("print(x)", trajectory="t").stdout == first
    session.end("t")


def test_a_session_costs_no_time_of_the_replayed(session: WorkerPool) -> None:
    session.run("import time\ntime.sleep(1.5)", trajectory="t")
    start = time.monotonic()
    assert session.run("print(1)", trajectory="t").stdout == "1\n"
    assert time.monotonic() - start < 1.2
    session.end("t")


def test_a_lost_worker_costs_a_session_nothing(session: WorkerPool) -> None:
    session.run("x = 41", trajectory="t")
    for pid in session.pids():
        os.kill(pid, signal.SIGKILL)
    assert session.run("x + 1", trajectory="t").stdout == "42\n"
    assert session.stats()["infrastructure"] == 0
    session.end("t")


def test_a_session_ends_with_its_trajectory(each_jail: str) -> None:
    with build_sandbox(cold(jail=each_jail, workers=1, state="session", waiting=1)) as sandbox:
        assert isinstance(sandbox, WorkerPool)
        time.sleep(0.3)
        idle = len(descendants(sandbox.pids()[0]))
        for name in "abc":
            sandbox.run("x = 1", trajectory=name)
        assert eventually(lambda: len(descendants(sandbox.pids()[0])) == idle + 3)
        for name in "abc":
            sandbox.end(name)
        assert eventually(lambda: len(descendants(sandbox.pids()[0])) == idle)


def test_a_session_ends_with_its_trajectory_in_the_middle_of_a_program(each_jail: str) -> None:
    with build_sandbox(cold(jail=each_jail, workers=1, state="session", waiting=1)) as sandbox:
        assert isinstance(sandbox, WorkerPool)
        time.sleep(0.3)
        idle = len(descendants(sandbox.pids()[0]))
        running = sandbox.submit("import time\ntime.sleep(0.5)", trajectory="t")
        assert eventually(lambda: not len(sandbox._queue))
        time.sleep(0.1)
        sandbox.end("t")
        running.result()
        assert sandbox.run("1", trajectory=None).status is Status.OK
        assert eventually(lambda: len(descendants(sandbox.pids()[0])) == idle)


def test_a_session_does_nothing_between_its_programs(session: WorkerPool) -> None:
    code = """
import threading, time
ticks = [0]
def tick():
    while True:
        ticks[0] += 1
        time.sleep(0.001)
threading.Thread(target=tick, daemon=True).start()
"""
    session.run(code, trajectory="t")
    before = int(session.run("print(ticks[0])", trajectory="t").stdout)
    time.sleep(0.5)
    after = int(session.run("print(ticks[0])", trajectory="t").stdout)
    assert after - before < 100
    session.end("t")


@pytest.mark.parametrize("state", ["replay", "session"])
def test_the_time_of_a_trajectory_is_limited(each_jail: str, state: str) -> None:
    cfg = cold(jail=each_jail, workers=1, state=state, wall_seconds=2, trajectory_seconds=1.2)
    with build_sandbox(cfg) as sandbox:
        code = "import time\ntime.sleep(0.5)"
        results = [sandbox.run(code, trajectory="t") for _ in range(4)]
        assert [result.status for result in results] == [Status.OK] * 2 + [Status.TIMEOUT] * 2
        assert results[3].error == "the 1.2 s of its trajectory are used up"
        assert sandbox.run(code, trajectory="another").status is Status.OK


def test_the_cpu_limit_is_of_each_program(each_jail: str) -> None:
    spin = "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass"
    cfg = cold(jail=each_jail, workers=1, state="session", cpu_seconds=0.8, wall_seconds=6)
    with build_sandbox(cfg) as sandbox:
        for _ in range(4):
            assert sandbox.run(spin, trajectory="t").status is Status.OK
        result = sandbox.run("while True: pass", trajectory="t")
        assert (result.status, result.error) == (Status.TIMEOUT, "CPU limit of 0.8 s exceeded")


def test_a_program_that_does_not_run_again_is_its_trajectorys_fault(replay: WorkerPool) -> None:
    """It does well at first and not when replayed; no worker is lost, and no other trajectory hears of it."""
    workers = replay.pids()
    limit = f"import time\nassert time.time() < {time.time() + 1}"
    assert replay.run(limit, trajectory="t").status is Status.OK
    time.sleep(1)
    result = replay.run("print(1)", trajectory="t")
    assert result.status is Status.ERROR
    assert result.error == "program 1 of this trajectory, run again for its state, failed: AssertionError"
    assert replay.pids() == workers
    replay.end("t")


HOSTILE = {
    "takes the next order": "import os\nos.set_blocking(4, False)\ntry: os.read(4, 9)\nexcept OSError: pass",
    "closes the orders": "import os\nos.close(4)",
    "closes everything": "import os\nos.closerange(0, 64)",
    "replaces the namespace": "import sys, builtins\nbuiltins.compile = None\nsys.modules.clear()",
    "never reads again": "import os\nos.dup2(os.open('/dev/null', 0), 4)",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_session_harms_itself_alone(session: WorkerPool, kind: str) -> None:
    session.run(HOSTILE[kind], trajectory="hostile")
    start = time.monotonic()
    session.run("print(1)" + " " * 10**6, trajectory="hostile")
    assert time.monotonic() - start < 10
    assert session.run("print(2)", trajectory="other").stdout == "2\n"
    session.end("hostile")
    session.end("other")


@pytest.mark.bubblewrap
def test_sessions_need_landlock(monkeypatch: pytest.MonkeyPatch) -> None:
    from src.sandbox.jails.base import worker_modules

    modules = worker_modules()
    old = "return max(int(version), 0)"
    assert old in modules["src.sandbox.landlock"]
    modules["src.sandbox.landlock"] = modules["src.sandbox.landlock"].replace(old, "return 0")
    monkeypatch.setattr("src.sandbox.client.worker_modules", lambda: modules)
    monkeypatch.setattr("src.sandbox.pool._START_PAUSES", (0.0,))
    with pytest.raises(SandboxError, match=r"sandbox\.state=session needs Landlock"):
        build_sandbox(cold(jail="bubblewrap", workers=1, state="session"))
