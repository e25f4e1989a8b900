"""Recorded rollouts: the trajectories of a run's steps, from its records and token columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from src.problems import Problem
from src.rollout.collector import Collected
from src.rollout.trajectory import Author, Segment, StopReason, Task, Trajectory
from src.run.records import RECORDS, Occasion, RecordError, TrajectoryRecord, iter_records
from src.run.token_columns import KEYS, read_tokens

_TIMED = ("generation", "execution", "grading")


class RecordedRollouts:
    """Gives the trainer recorded trajectories where a Collector would sample them.

    Args:
        run: folder of the run.
        steps: rollout steps, from 0.
        rewards: folder of the records whose rewards count; None: the run's.

    Raises:
        RecordError: a record file cannot be read.
    """

    def __init__(self, run: Path, steps: Sequence[int], rewards: Path | None = None) -> None:
        self._run, self._file = run, (rewards or run) / RECORDS
        wanted = set(steps)
        self._records: dict[tuple[Any, ...], TrajectoryRecord] = {}
        for record in iter_records(self._file):
            if record.phase == "train" and record.step in wanted:
                self._records[tuple(getattr(record, name) for name in KEYS)] = record

    def collect(
        self, samples: object, mode: str, budget: int, occasion: Occasion, groups: object = None
    ) -> Collected:
        """Return the trajectories that step ``occasion.step`` was trained on; see Collector.collect.

        Raises:
            RecordError: columns and records do not match, or several processes have written them.
        """
        rows = read_tokens(self._run, occasion.step).drop_nulls("group").to_dicts()
        if any(row["process"] for row in rows):
            raise RecordError(
                f"{self._run}: step {occasion.step} was trained by several processes, whose gradients are "
                "added in an order of their own; only runs of one process can be replayed"
            )
        records = [self._record(row) for row in rows]
        if len({id(record) for record in records}) < len(records):
            raise RecordError(
                f"{self._run}: step {occasion.step} has several trajectories with the same problem and "
                "sample, whose rewards cannot be told apart; give each problem an id of its own"
            )
        pairs = zip(rows, records, strict=True)
        return Collected([self._trajectory(row, record) for row, record in pairs], records)

    def seconds(self) -> dict[str, float]:
        """Return that nothing took any time."""
        return {f"seconds/{name}": 0.0 for name in _TIMED}

    def metrics(self) -> dict[str, float]:
        """Return the metrics of an engine that has done nothing."""
        return self.seconds()

    def _record(self, row: Mapping[str, Any]) -> TrajectoryRecord:
        key = tuple(row[name] for name in KEYS)
        if key not in self._records:
            raise RecordError(
                f"{self._file}: has no trajectory {row['sample']} of problem {row['problem_id']!r} in step "
                f"{row['step']}, attempt {row['attempt']}, whose tokens there are"
            )
        return self._records[key]

    def _trajectory(self, row: Mapping[str, Any], record: TrajectoryRecord) -> Trajectory:
        ids, authors, prompt = row["token_ids"], row["author"], row["prompt_tokens"]
        logprobs, at = row["sampled_logprob"], prompt
        problem = Problem(
            record.problem_id, record.problem, record.gold, record.subject, record.level, record.source
        )
        task = Task(problem, record.mode, record.sample, ids[:prompt], record.budget, record.seed)
        segments = []
        for one in record.segments:
            part = slice(at, at + one.tokens)
            at += one.tokens
            if any(author != one.author for author in authors[part]):
                at = -1
                break
            sampled = one.author == Author.POLICY and logprobs is not None
            values = [value or 0.0 for value in logprobs[part]] if sampled else None
            segments.append(Segment(Author(one.author), ids[part], one.text, values, one.tool))
        if at != len(ids):
            raise RecordError(
                f"{self._file}: the segments of trajectory {record.sample} of problem {record.problem_id!r} "
                f"in step {record.step} are not those of its tokens; the two were written by different runs"
            )
        return Trajectory(task, segments, [], StopReason(record.stop_reason), record.dropped_tokens)
