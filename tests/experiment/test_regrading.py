"""Grading again: what is read, what is written, and what counts as a flip."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from src.config import Config, RegradeConfig, RewardConfig
from src.config.paths import ROOT
from src.config.schema import ConfigError
from src.experiment.regraded_folder import RegradedFolder, read_flips
from src.experiment.regrading import Regrader, stored_format
from src.launch.checks.regrade import reward_settings
from src.rewards import Grade, Outcome
from src.run.records import (
    ExecutionRecord,
    RecordWriter,
    SegmentRecord,
    TrajectoryRecord,
    read_records,
)
from tests.run.test_records import RECORD


class EqualTexts:
    """Grades by comparing texts; the answer ``slow`` reaches the time limit."""

    def submit(self, gold: str, answer: str | None) -> Future[Grade]:
        future: Future[Grade] = Future()
        future.set_result(Grade(answer == gold, "timeout" if answer == "slow" else None))
        return future


def said(answer: str, text: str = "", **changes: Any) -> TrajectoryRecord:
    """A record of a policy that boxes an answer, graded as it is."""
    correct = answer == "7"
    value = 1.0 if correct else -1.0
    plain: dict[str, Any] = {
        "gold": "7",
        "segments": [SegmentRecord("policy", f"{text}$\\boxed{{{answer}}}$", 5)],
        "executions": [],
        "answer": answer,
        "correct": correct,
        "correct_lenient": correct,
        "rewards": {"correctness": value, "total": value},
        "stop_reason": "answered",
    }
    return replace(RECORD, **plain | changes)


def write(folder: Path, records: Sequence[TrajectoryRecord], **changes: Any) -> Path:
    """A run with these records and settings."""
    with RecordWriter(folder / "trajectories.jsonl") as writer:
        writer.write_records(records)
    cfg = asdict(Config()) | {"format": {"_target_": "src.formats.FenceFormat"}} | changes
    (folder / "config.json").write_text(json.dumps(cfg))
    return folder


def regrade(run: Path, out: Path, reward: RewardConfig | None = None) -> dict[str, Any]:
    folder = RegradedFolder(run, out, reward or RewardConfig())
    grader: Any = EqualTexts()
    regrader = Regrader(reward or RewardConfig(), stored_format(folder.config), 100, grader)
    return folder.write(regrader)


def flips(out: Path) -> list[tuple[str, list[str], str]]:
    return [(flip["problem_id"], flip["changed"], flip["reason"]) for flip in read_flips(out)]


def test_each_flip_has_its_reason(tmp_path: Path) -> None:
    stale = replace(said("7"), problem_id="stale", answer="8", correct=False)
    slow = replace(said("slow"), problem_id="slow", correct=True, correct_lenient=True)
    lenient = replace(said("8", "7 "), problem_id="lenient", correct_lenient=True)
    code = replace(said("8"), problem_id="code", answer=None)
    same = said("7")
    run = write(tmp_path / "run", [same, stale, slow, lenient, code])
    summary = regrade(run, tmp_path / "out")
    assert flips(tmp_path / "out") == [
        ("stale", ["answer", "correct"], "the answer that is found is '7', it was '8'"),
        ("slow", ["correct", "correct_lenient"],
         "the answer 'slow' to '7' is refused: it could not be compared now (timeout)"),
        ("lenient", ["correct_lenient"],
         "lenient grading refuses the last expression, which it did not before"),
        ("code", ["answer"], "the answer that is found is '8', it was none"),
    ]  # fmt: skip
    (group,) = summary["groups"]
    assert (group["n"], group["accuracy"]) == (5, [2 / 5, 2 / 5])
    counts = {"to_correct": 1, "to_wrong": 1, "answers": 2, "lenient": 1 + 1, "rewards": 0}
    assert group["changed"] == counts
    new = read_records(tmp_path / "out" / "trajectories.jsonl")
    assert new[0] == read_records(run / "trajectories.jsonl")[0]
    assert [record.grading_failure for record in new] == [None, None, "timeout", None, None]


def test_a_block_hides_no_answer_of_another_format(tmp_path: Path) -> None:
    """A box inside a call is none; which text is a call, the format of the run knows."""
    text = "<python>\nprint('\\boxed{7}')\n</python> "
    record = said("8", text)
    inside = replace(record, segments=[SegmentRecord("policy", text, 3)], answer=None, stop_reason="void")
    tags = {"_target_": "src.formats.TagFormat"}
    run = write(tmp_path / "run", [record, inside], format=tags)
    regrade(run, tmp_path / "out")
    assert flips(tmp_path / "out") == []
    other = write(tmp_path / "other", [record, inside])
    regrade(other, tmp_path / "otherwise")
    assert [changed for _, changed, _ in flips(tmp_path / "otherwise")] == [
        ["answer", "correct", "correct_lenient"]
    ]


def test_other_weights_flip_nothing_but_change_rewards(tmp_path: Path) -> None:
    failing = said("7", executions=[ExecutionRecord("error", 0.1, "E", code="1/0")])
    lost = said("7", stop_reason="infrastructure", rewards=None)
    run = write(tmp_path / "run", [said("7"), failing, said("8"), lost])
    reward = RewardConfig(wrong=0.0, executability=0.5, overlong=1.0, overlong_tokens=98)
    summary = regrade(run, tmp_path / "out", reward)
    assert flips(tmp_path / "out") == []
    assert summary["changed_settings"] == {
        "reward.executability": [0.0, 0.5], "reward.overlong": [0.0, 1.0],
        "reward.overlong_tokens": [None, 98], "reward.wrong": [-1.0, 0.0],
    }  # fmt: skip
    new = read_records(tmp_path / "out" / "trajectories.jsonl")
    long = -3 / 98  # 5 tokens of 100, of which the last 98 cost
    found = [record.rewards and record.rewards["total"] for record in new]
    assert found == [pytest.approx(1 + long), pytest.approx(0.5 + long), pytest.approx(long), None]
    (group,) = summary["groups"]
    assert (group["n"], group["changed"]["rewards"]) == (3, 3)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["reward"] == asdict(reward)


def programs_and_outputs(outcome: Outcome) -> float:
    """A term of its own."""
    assert outcome.problem is not None
    assert outcome.problem.text == RECORD.problem
    return float(len(outcome.programs[0]) + 100 * len(outcome.outputs[0]))


@pytest.mark.parametrize(
    ("execution", "seen"),
    [
        (ExecutionRecord("ok", 0.1, None, code="12"), 4),  # an older record: the feedback
        (ExecutionRecord("ok", 0.1, None, code="12", output="12345\n"), 5),
        (ExecutionRecord("ok", 0.1, None, code="12", output=" \n"), len("no output")),
        (ExecutionRecord("error", 0.1, "E: x", code="12", output="12345\n"), len("E: x")),
        (ExecutionRecord("timeout", 0.1, None, code="12", output="12345\n"), len("timeout")),
    ],
)
def test_own_terms_see_programs_and_outputs(tmp_path: Path, execution: ExecutionRecord, seen: int) -> None:
    segments = [*said("7").segments, SegmentRecord("tool", "four", 1, "python"), *said("7").segments]
    record = said("7", segments=segments, executions=[execution])
    run = write(tmp_path / "run", [record])
    reward = RewardConfig(terms={"own": {"_target_": f"{__name__}.programs_and_outputs"}})
    regrade(run, tmp_path / "out", reward)
    (new,) = read_records(tmp_path / "out" / "trajectories.jsonl")
    assert new.rewards == {"correctness": 1.0, "own": 2.0 + 100 * seen, "total": 3.0 + 100 * seen}


def test_superseded_records_are_kept_but_count_nowhere(tmp_path: Path) -> None:
    wrong = {"answer": "8", "phase": "train"}
    old = replace(said("7"), step=1, attempt=0, **wrong)
    run = write(tmp_path / "run", [old, replace(said("7"), phase="train", step=1, attempt=1)])
    summary = regrade(run, tmp_path / "out")
    assert flips(tmp_path / "out") == []
    (group,) = summary["groups"]
    assert group["n"] == 1
    assert (tmp_path / "out" / "trajectories.jsonl").read_text().count("\n") == 2


def test_the_evaluations_on_the_way_are_graded_too(tmp_path: Path) -> None:
    before = replace(said("7"), phase="before", step=0)
    run = write(tmp_path / "run", [before])
    place = Path("evaluations") / "step-2" / "own"
    stale = replace(said("7"), phase="evaluate", step=2, answer="8", correct=False)
    write(run / place, [stale])
    (run / place / "config.json").unlink()
    for step, name in ((2, "own"), (0, "heldout")):
        folder = run / "evaluations" / f"step-{step}" / name
        folder.mkdir(parents=True, exist_ok=True)
        summary = {"step": step, "benchmark": name, "results": {"free": {"accuracy": 0.25}}}
        (folder / "summary.json").write_text(json.dumps(summary))
    regrade(run, tmp_path / "out")
    ((_, changed, _),) = flips(tmp_path / "out")
    assert changed == ["answer", "correct"]
    for name in ("step-2/own", "step-0/heldout"):
        found = json.loads((tmp_path / "out" / "evaluations" / name / "summary.json").read_text())
        assert found["results"][stale.mode]["accuracy"] == 1.0
        assert json.loads((run / "evaluations" / name / "summary.json").read_text())["results"] == {
            "free": {"accuracy": 0.25}
        }


def test_each_policy_is_counted_by_itself(tmp_path: Path) -> None:
    """A run that was resumed after its end has been evaluated twice."""
    first = replace(said("7"), phase="after", step=4)
    run = write(tmp_path / "run", [first, replace(said("8"), phase="after", step=5, attempt=1)])
    for step in (4, 5):
        folder = run / "evaluations" / f"step-{step}" / "heldout"
        folder.mkdir(parents=True)
        (folder / "summary.json").write_text(json.dumps({"step": step, "results": {}}))
    groups = regrade(run, tmp_path / "out")["groups"]
    assert [(one["step"], one["n"], one["accuracy"]) for one in groups] == [(4, 1, [1, 1]), (5, 1, [0, 0])]
    results = json.loads((tmp_path / "out" / "summary.json").read_text())["after"]
    assert results[first.mode]["accuracy"] == 0, "of the last"
    out = tmp_path / "out" / "evaluations"
    files = [out / f"step-{step}" / "heldout" / "summary.json" for step in (4, 5)]
    found = [json.loads(file.read_text())["results"][first.mode]["accuracy"] for file in files]
    assert found == [1, 0], "each of its own step"


def test_no_records_are_overwritten(tmp_path: Path) -> None:
    run = write(tmp_path / "run", [said("7")])
    for out in (run, tmp_path / "out"):
        if out != run:
            regrade(run, out)
        before = (out / "trajectories.jsonl").read_bytes()
        with pytest.raises(ConfigError, match="already has trajectories"):
            regrade(run, out)
        assert (out / "trajectories.jsonl").read_bytes() == before


class TestSettings:
    def test_what_is_not_given_is_the_run_s(self, tmp_path: Path) -> None:
        own = asdict(RewardConfig(wrong=-0.5, grader="math_verify"))
        run = write(tmp_path, [said("7")], reward=own)
        cfg = RegradeConfig(run=str(run))
        assert reward_settings(cfg, [f"run={run}"]) == RewardConfig(wrong=-0.5, grader="math_verify")
        changed = reward_settings(cfg, [f"run={run}", "reward.correct=2"])
        assert changed == RewardConfig(correct=2.0, wrong=-0.5, grader="math_verify")
        cfg.reward.correct = 3.0  # as reward=accuracy composes it
        assert reward_settings(cfg, ["reward=accuracy", "reward.correct=3"]) == RewardConfig(correct=3.0)

    def test_settings_that_are_newer_than_the_run_have_their_defaults(self, tmp_path: Path) -> None:
        run = write(tmp_path, [said("7")], reward={"wrong": 0.0})
        assert reward_settings(RegradeConfig(run=str(run)), []) == RewardConfig(wrong=0.0)

    @pytest.mark.parametrize(
        ("run", "says"),
        [
            ([], "run: this value is mandatory"),
            (["run=nowhere"], "run=nowhere: has no trajectories.jsonl"),
            (["run='~/runs/a'"], "run=~/runs/a: give the folder without ~"),
            (["run=FOLDER"], "its config.json cannot be read"),
            (["run=FOLDER", "reward.grader=exakt"], "did you mean exact?"),
        ],
    )
    def test_a_mistake_is_one_message_and_makes_no_folder(
        self, tmp_path: Path, run: list[str], says: str
    ) -> None:
        write(tmp_path, [said("7")])
        (tmp_path / "config.json").write_text("{")
        given = [one.replace("FOLDER", str(tmp_path)) for one in run]
        done = subprocess.run(
            [sys.executable, "-m", "src.regrade", *given], cwd=ROOT, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert says in done.stderr
        assert not (ROOT / "nowhere").exists()
        assert not (tmp_path / "regraded").exists()
