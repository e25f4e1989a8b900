"""Grades stored trajectories again, and lists what has changed. The old records stay as they are."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from src.config import RewardConfig
from src.config.tools import tools_option
from src.formats.base import Format
from src.formats.build import build_format
from src.problems import Problem
from src.rewards import Grade, Grader, Outcome, compose, extract_answer, last_expression
from src.rewards.compose import own_terms
from src.run.records import TrajectoryRecord
from src.sandbox import ExecutionResult, Status
from src.tools.build import build_tools

_WAITING = 1000  # most trajectories that wait for their grades
_LOST = "infrastructure"
_COMPARED = ("answer", "correct", "correct_lenient")


@dataclass(frozen=True)
class Regraded:
    """A record before and after."""

    old: TrajectoryRecord
    new: TrajectoryRecord

    @property
    def changed(self) -> list[str]:
        """Which of answer, correctness and lenient correctness differ; a field that one of them lacks
        does not."""
        pairs = {name: (getattr(self.old, name), getattr(self.new, name)) for name in _COMPARED}
        if None in pairs["correct_lenient"]:
            del pairs["correct_lenient"]
        return [name for name, (before, after) in pairs.items() if before != after]


class Regrader:
    """Grades records.

    Args:
        reward: the settings.
        form: the format of the run, which knows what an answer may not be in.
        max_tokens: ``rollout.max_tokens`` of the run.
        grader: compares answers, as ``reward`` says.

    Raises:
        ConfigError: a function of ``reward.terms`` does not exist.
    """

    def __init__(self, reward: RewardConfig, form: Format, max_tokens: int, grader: Grader) -> None:
        self._reward, self._form, self._max_tokens, self._grader = reward, form, max_tokens, grader
        self._own_terms = own_terms(reward)

    def stream(self, records: Iterable[TrajectoryRecord]) -> Iterator[Regraded]:
        """Yield each record with its new version, in order. Raises: GraderError."""
        waiting: deque[_Waiting] = deque()
        for record in records:
            waiting.append(self._submitted(record))
            if len(waiting) >= _WAITING:
                yield self._graded(waiting.popleft())
        while waiting:
            yield self._graded(waiting.popleft())

    def _submitted(self, record: TrajectoryRecord) -> _Waiting:
        texts = [segment.text for segment in record.segments if segment.author == "policy"]
        answer = extract_answer(texts, self._form.spans)
        grade = self._grader.submit(record.gold, answer)
        lenient = None
        if self._reward.lenient:
            last = last_expression(texts, self._form.spans)
            lenient = grade if last in (None, answer) else self._grader.submit(record.gold, last)
        return _Waiting(record, answer, grade, lenient)

    def _graded(self, waiting: _Waiting) -> Regraded:
        record, grade = waiting.record, waiting.grade.result()
        correct, lenient = grade.correct, waiting.lenient
        rewards = None
        if record.stop_reason != _LOST:
            outcome = _outcome(record, waiting.answer, correct, self._max_tokens)
            reward = compose(outcome, self._reward, self._own_terms)
            rewards = {**reward.terms, "total": reward.total}
        new = replace(
            record,
            answer=waiting.answer,
            correct=correct,
            rewards=rewards,
            correct_lenient=None if lenient is None else (correct or lenient.result().correct),
            grading_failure=grade.failure,
        )
        return Regraded(record, new)


@dataclass(frozen=True)
class _Waiting:
    """A record whose answer is being graded."""

    record: TrajectoryRecord
    answer: str | None
    grade: Future[Grade]
    lenient: Future[Grade] | None


class _NoTokenizer:
    """Stands for the policy's tokenizer: blocks are found in texts, without one."""

    def get_added_vocab(self) -> dict[str, int]:
        """Return no tokens."""
        return {}


def stored_format(config: Mapping[str, Any]) -> Format:
    """Return the format of a run, fit for finding blocks in texts.

    Args:
        config: settings of the run.

    Raises:
        ConfigError: the format or a tool, whose name it has to know, cannot be built.
    """
    tools = config.get("tools", tools_option().default_factory())
    with closing(build_tools(tools, None)) as known:
        return build_format(config["format"], list(known), _NoTokenizer(), "plain")


def _outcome(record: TrajectoryRecord, answer: str | None, correct: bool, max_tokens: int) -> Outcome:
    """Return what reward terms see; in older records, feedback for outputs."""
    by_author: Mapping[str, list[str]] = {
        author: [segment.text for segment in record.segments if segment.author == author]
        for author in ("policy", "tool")
    }
    outputs = [
        ExecutionResult(Status(one.status), one.output, one.error, one.seconds).output
        for one in record.executions
        if one.output is not None
    ]
    recorded = len(outputs) == len(record.executions)
    problem = Problem(
        record.problem_id, record.problem, record.gold, record.subject, record.level, record.source
    )
    return Outcome(
        correct=correct,
        answer=answer,
        problem=problem,
        programs=tuple(execution.code or "" for execution in record.executions),
        outputs=tuple(outputs if recorded else by_author["tool"]),
        policy_texts=tuple(by_author["policy"]),
        statuses=tuple(execution.status for execution in record.executions),
        stop_reason=record.stop_reason,
        tokens=sum(segment.tokens for segment in record.segments),
        max_tokens=max_tokens,
    )


def reason(one: Regraded, before: RewardConfig, after: RewardConfig) -> str:
    """Return why a record has flipped, as a sentence without a full stop.

    Args:
        one: a record with changes.
        before: reward settings of the run.
        after: the new ones.
    """
    old, new = one.old, one.new
    if old.answer != new.answer:
        return f"the answer that is found is {_shown(new.answer)}, it was {_shown(old.answer)}"
    what = f"the answer {_shown(new.answer)} to {_shown(new.gold)}"
    if old.correct == new.correct:
        verdict = "accepts" if new.correct_lenient else "refuses"
        return f"lenient grading {verdict} the last expression, which it did not before"
    verdict = "accepted" if new.correct else "refused"
    if new.grading_failure or old.grading_failure:
        return (
            f"{what} is {verdict}: it could not be compared {'now' if new.grading_failure else 'then'} "
            f"({new.grading_failure or old.grading_failure})"
        )
    if before.grader != after.grader:
        return f"{what} is {verdict} by {after.grader}, it was not by {before.grader}"
    return f"{what} is {verdict}, it was not with the same settings: the grader's code has changed"


def _shown(answer: str | None) -> str:
    return "none" if answer is None else repr(answer if len(answer) <= 100 else f"{answer[:97]}...")
