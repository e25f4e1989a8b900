"""From problems to graded, recorded trajectories, whatever happens on the way."""

from __future__ import annotations

import io
import itertools
import json
import re
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from src.config import RewardConfig, RolloutConfig
from src.experiment.evaluation.results import Results
from src.problems import Problem
from src.rewards import Grade, GraderError
from src.rollout.collector import Collector, PromptError
from src.rollout.engines import EngineError
from src.run.console import comparison
from src.run.records import Occasion, RecordWriter
from src.sandbox import ExecutionResult, SandboxError, Status
from tests.fakes import BPE, FakeSandbox, ScriptedEngine, environment, problem
from tests.rollout.test_scheduler import script
from tests.rollout.test_streaming import Failing, echo

CONFIG = RolloutConfig(max_tokens=400)
(EOS,) = BPE.eos_ids
ASKED = [(problem(answer=str(i % 5), name=f"p{i}"), 0) for i in range(20)]


class SlowGrader:
    """Right is what equals the gold answer; the first grades come last."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []

    def submit(self, gold: str, answer: str | None) -> Future[Grade]:
        future: Future[Grade] = Future()
        grade = Grade(correct=gold == answer)
        threading.Timer(0.2 if len(self.asked) < 2 else 0.001, future.set_result, (grade,)).start()
        self.asked.append(answer)
        return future


def engine(kind: type[ScriptedEngine] = ScriptedEngine, number: int = 20) -> ScriptedEngine:
    texts = [f"```python\nprint({i})\n```\\boxed{{{i}}}<|end|>" for i in range(number)]
    return kind([script(one, BPE, []) for one in texts], EOS, streaming=True, per_poll=1)


def collector(path: Path | None, **parts: Any) -> Collector:
    sampler = parts.pop("engine", None) or engine()
    given: dict[str, Any] = {"sandbox": FakeSandbox(echo), "grader": SlowGrader(), "rollout": CONFIG}
    return Collector(sampler, environment(**(given | parts)), RecordWriter(path) if path else None)


def collect(one: Collector, asked: list[tuple[Problem, int]] = ASKED) -> Any:
    return one.collect(asked, "free", 2, Occasion("train", 3, 1))


def recorded(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_order_grades_and_records(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    one = collector(path)
    collected = collect(one)
    assert [t.task.problem.id for t in collected.trajectories] == [f"p{i}" for i in range(20)]
    assert [r.answer for r in collected.records] == [str(i) for i in range(20)]
    assert [r.correct for r in collected.records] == [i < 5 for i in range(20)]
    assert [reward > 0 for reward in collected.rewards] == [i < 5 for i in range(20)]
    rows = recorded(path)
    assert sorted(row["problem_id"] for row in rows) == sorted(f"p{i}" for i in range(20))
    assert {(row["phase"], row["step"], row["attempt"]) for row in rows} == {("train", 3, 1)}
    assert one.metrics()["seconds/grading"] >= 0
    assert {"seconds/generation", "engine/running_sequences", "sandbox/executions"} <= one.metrics().keys()


def test_records_hold_prompt_group_and_whole_output(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    printed = "1" * 900
    rollout = RolloutConfig(max_tokens=4000, feedback_chars=100)
    one = collector(
        path, sandbox=FakeSandbox(lambda _: ExecutionResult(Status.OK, printed, None, 0.0)), rollout=rollout
    )
    collected = one.collect(ASKED, "free", 2, Occasion("train"), groups=[i // 4 for i in range(20)])
    assert [record.group for record in collected.records] == [i // 4 for i in range(20)]
    for trajectory, record in zip(collected.trajectories, collected.records, strict=True):
        ids = trajectory.task.prompt_ids
        assert record.prompt == b"".join(map(BPE.bytes_of, ids)).decode()
        assert record.problem in record.prompt
        assert [execution.output for execution in record.executions] == [printed]
        seconds = [segment.seconds for segment in record.segments]
        assert seconds == [round(segment.seconds, 6) for segment in trajectory.segments]
        assert printed not in "".join(segment.text for segment in record.segments)
    assert sorted(row["group"] for row in recorded(path)) == [i // 4 for i in range(20)]


def test_grades_do_not_hold_up_the_others() -> None:
    """Trajectories come as they are graded, while others are still sampled."""
    stream = collector(None).stream(ASKED, "free", 2, Occasion("train"))
    first = list(itertools.islice(stream, 20))
    assert len({one.index for one in first}) == 20


def test_a_long_prompt_is_refused_before_anything_is_sampled() -> None:
    sampler = engine()
    one = collector(None, engine=sampler, rollout=RolloutConfig(max_prompt_tokens=3))
    with pytest.raises(PromptError, match=r"rollout\.max_prompt_tokens is 3.*'p0'"):
        collect(one)
    assert sampler.log == []


@pytest.mark.parametrize("fault", ["engine", "sandbox", "cancelled"])
def test_what_had_finished_is_recorded_whole(tmp_path: Path, fault: str) -> None:
    """Each line is a whole record, each of a trajectory that ended by itself."""

    class Closing(FakeSandbox):
        def submit(self, code: str, **options: Any) -> Any:
            if fault == "sandbox" and len(self.ran) == 9:
                raise SandboxError("closed")
            return super().submit(code, **options)

    path = tmp_path / "records.jsonl"
    sampler = engine(Failing if fault == "engine" else ScriptedEngine)
    one = collector(path, engine=sampler, sandbox=Closing(echo), rollout=RolloutConfig(max_concurrent=2))
    stream = one.stream(ASKED, "free", 2, Occasion("train"))
    if fault == "cancelled":
        next(stream)
        stream.close()
    else:
        with pytest.raises(EngineError if fault == "engine" else SandboxError):
            list(stream)
    rows = recorded(path)
    assert 3 <= len(rows) < 20 or fault == "cancelled"
    assert rows
    for row in rows:
        assert row["stop_reason"] == "answered"
        assert row["correct"] == (int(row["problem_id"][1:]) < 5)
    assert sampler.pending == 0


def test_records_are_on_disk_while_the_rollout_runs(tmp_path: Path) -> None:
    """What a kill -9 in a long rollout leaves."""
    path = tmp_path / "records.jsonl"
    sandbox = FakeSandbox(echo, delay=0.15)
    one = collector(path, sandbox=sandbox, rollout=RolloutConfig(max_concurrent=1))
    began = time.monotonic()
    for number, _ in enumerate(one.stream(ASKED, "free", 2, Occasion("train"))):
        if time.monotonic() - began > 2.2:
            assert len(recorded(path)) >= number // 2
            assert recorded(path)
            break
    else:
        pytest.fail("it was over too soon to tell")


def test_what_cannot_be_graded_is_not_recorded_and_ends_the_rollout(tmp_path: Path) -> None:
    class Broken(SlowGrader):
        def submit(self, gold: str, answer: str | None) -> Future[Grade]:
            if answer == "7":
                future: Future[Grade] = Future()
                future.set_exception(GraderError("the grader is closed"))
                return future
            return super().submit(gold, answer)

    path = tmp_path / "records.jsonl"
    with pytest.raises(GraderError, match="closed"):
        collect(collector(path, grader=Broken()))
    assert "p7" not in {row["problem_id"] for row in recorded(path)}
    assert len(recorded(path)) >= 5


def test_infrastructure_has_no_reward() -> None:
    lost = FakeSandbox(lambda code: ExecutionResult(Status.INFRASTRUCTURE, "", "worker died twice", 0.0))
    collected = collect(collector(None, sandbox=lost))
    assert collected.rewards == [None] * 20


def test_the_lenient_accuracy_stands_beside_the_strict_one() -> None:
    """Nothing is boxed; the text ends with the program's output, which is right for five of them."""
    texts = [f"```python\nprint({i})\n```\nso it is {i}<|end|>" for i in range(20)]
    sampler = ScriptedEngine([script(t, BPE, []) for t in texts], EOS)
    strict = collect(collector(None, engine=sampler, reward=RewardConfig(lenient=False)))
    assert [r.correct_lenient for r in strict.records] == [None] * 20
    sampler = ScriptedEngine([script(t, BPE, []) for t in texts], EOS)
    both = collect(collector(None, engine=sampler))
    assert [r.correct for r in both.records] == [False] * 20
    assert [r.correct_lenient for r in both.records] == [i < 5 for i in range(20)]
    summary = Results(both.records).summary()
    assert (summary["accuracy"], summary["accuracy_lenient"]) == (0.0, 0.25)
    assert next(iter(summary["by_subject"].values()))["accuracy_lenient"] == 0.25
    assert summary["interval_lenient"][0] < 0.25 < summary["interval_lenient"][1]
    shown = Console(width=120, record=True, file=io.StringIO())
    shown.print(comparison({"after": {"free": summary}}))
    assert re.search(r"all, lenient +25\.0 %", shown.export_text())
    assert "accuracy_lenient" not in Results(strict.records).summary()


def test_what_could_not_be_graded_is_recorded(tmp_path: Path) -> None:
    class Slow(SlowGrader):
        def submit(self, gold: str, answer: str | None) -> Future[Grade]:
            future: Future[Grade] = Future()
            future.set_result(Grade(correct=False, failure="timeout" if answer == "7" else None))
            return future

    path = tmp_path / "t.jsonl"
    collected = collect(collector(path, grader=Slow()))
    assert [row["problem_id"] for row in recorded(path) if row["grading_failure"] == "timeout"] == ["p7"]
    assert Results(collected.records).summary()["metrics"]["grading_failure_rate"] == 0.05
