"""Records: trajectories on disk as JSON Lines, one per line, append-only, with a schema version.

A resumed run repeats the steps after its checkpoint and writes them with a higher ``attempt``. From the first
step of an attempt on, the records of earlier attempts are superseded, since their weights were lost;
:func:`read_records` drops them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from src.run import renamed
from src.run.processes import Ranks

SCHEMA_VERSION = 1
# What lies in the folder of a run or of an evaluation.
RECORDS, METRICS, SUMMARY, CONFIG = "trajectories.jsonl", "metrics.jsonl", "summary.json", "config.json"
STATE = "state.json"  # of a training run: its evaluation before training; of both, who they are in W&B


class RecordError(ValueError):
    """An invalid records file; the message names file and line."""


@dataclass(frozen=True)
class SegmentRecord:
    """Consecutive tokens with one author (``policy`` or ``tool``); ``tokens`` is their number.

    ``tool`` is the tool whose result this is. Older records have ``sandbox`` for the author ``tool``.
    ``seconds`` passed from the request for the tokens, or from the call, until they were there, with waiting
    for the engine or for a worker; None: the record is older than the field.
    """

    author: str
    text: str
    tokens: int
    tool: str | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class ExecutionRecord:
    """One call: its status, wall seconds, last line of the error message, and tool.

    ``code`` is the program, or the arguments of another tool, and ``output`` what it printed, before it was
    shortened for the policy; None: the record is older than the field.
    """

    status: str
    seconds: float
    error: str | None
    tool: str = "python"
    code: str | None = None
    output: str | None = None


@dataclass(frozen=True)
class Occasion:
    """When trajectories are sampled, see :class:`TrajectoryRecord`."""

    phase: str
    step: int = 0
    attempt: int = 0


@dataclass(frozen=True)
class TrajectoryRecord:
    """One trajectory with everything that analyses need.

    Attributes:
        phase: ``train``, or the name of an evaluation (``before``, ``after``).
        step: rollout step in which it was sampled, from 0.
        attempt: number of times that the run had been resumed.
        sample: index among the trajectories of the problem in this step.
        stop_reason: see src/rollout/trajectory.py; records older than the reason ``no_answer`` have
            ``answered`` with ``answer`` None instead.
        correct: the answer is equivalent to the gold answer; never inferred from the reward (docs/design.md,
            invariant Correctness).
        correct_lenient: it is, or the last number or formula of the text is equivalent to it; None:
            reward.lenient is off. Older records have it under the name ``lenient``, for the last integer.
        grading_failure: ``timeout``, ``crash`` or ``error``: why the answer could not be compared, and counts
            as wrong; None: it was compared, or the record is older than the field.
        prompt: as the policy read it, control tokens included; None: the record is older than the field.
        group: number of its group in the training step, from 0, higher for those that dynamic sampling has
            drawn; None: an evaluation, or the record is older than the field.
        fabricated_output: the policy itself sampled the content of an output block, even if that was thrown
            away; None: the record is older than the field.
        prompt_style: of the prompt (``model.prompt_style``); None: the record is older than the field.
        rewards: every reward term by name, and ``total``; None for a trajectory lost to the infrastructure.
        seed: sampling seed; None: the trajectory had none of its own, or the record is older than the field.
        straggler: it was ended by ``rollout.max_seconds``; None: the record is older than the field.
    """

    phase: str
    mode: str
    step: int
    attempt: int
    sample: int
    problem_id: str
    problem: str
    gold: str
    subject: str | None
    level: int | None
    source: str
    budget: int
    prompt_tokens: int
    segments: list[SegmentRecord]
    executions: list[ExecutionRecord]
    stop_reason: str
    dropped_tokens: int
    answer: str | None
    correct: bool
    rewards: dict[str, float] | None
    correct_lenient: bool | None = None
    fabricated_output: bool | None = None
    seed: int | None = None
    straggler: bool | None = None
    prompt_style: str | None = None
    grading_failure: str | None = None
    prompt: str | None = None
    group: int | None = None
    version: int = field(default=SCHEMA_VERSION)

    def tokens(self, author: str) -> int:
        """Number of tokens of one author."""
        return sum(segment.tokens for segment in self.segments if segment.author == author)


class LineWriter:
    """Appends objects to a JSON Lines file, whole lines only; each batch is flushed to disk.

    An incomplete last line of an earlier process is removed when the file is opened.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _cut_torn_line(path)
        self._file = path.open("ab")

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        """Append ``rows``; when this returns they survive a kill."""
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        # A program may print lone surrogates, which have no UTF-8 encoding.
        self._file.write(text.encode("utf-8", "replace"))
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RecordWriter(LineWriter):
    """Appends trajectory records to a file."""

    def write_records(self, records: Iterable[TrajectoryRecord]) -> None:
        """Append ``records``; when this returns they survive a kill."""
        self.write(asdict(record) for record in records)


class RankWriter(RecordWriter):
    """Appends the records of several processes to one file, which rank 0 writes.

    Until :meth:`share`, other ranks keep their records in separate files in the same folder, where they
    remain if the run ends early.

    Args:
        path: the common file.
        ranks: the processes.
    """

    def __init__(self, path: Path, ranks: Ranks) -> None:
        self._ranks = ranks
        self._waiting: list[TrajectoryRecord] = []
        super().__init__(path if ranks.first else path.with_stem(f"{path.stem}-process-{ranks.rank}"))

    def write_records(self, records: Iterable[TrajectoryRecord]) -> None:
        """See RecordWriter.write_records."""
        records = list(records)
        super().write_records(records)
        if not self._ranks.first:
            self._waiting += records

    def share(self) -> None:
        """Send the records of this process to rank 0; collective."""
        if self._ranks.world == 1:
            return
        for records in self._ranks.gather_to_first(self._waiting)[1:]:
            super().write_records(records)
        self._waiting = []
        self._ranks.wait()  # until they are on the disk
        if not self._ranks.first:
            self._file.truncate(0)

    def close(self) -> None:
        """Close the file, and delete a separate file whose records were all shared."""
        super().close()
        if not self._ranks.first and not self._waiting:
            Path(self._file.name).unlink()


def _cut_torn_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                file.truncate(start + newline + 1)
                return
            end = start
        file.truncate(0)


def iter_records(path: Path) -> Iterator[TrajectoryRecord]:
    """Yield every record of a file in order, superseded ones included; an incomplete last line is ignored.

    Raises:
        RecordError: a line before the last is not a record, or has another schema version.
    """
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith("\n"):
                return  # its writer was killed
            yield parse_record(line, f"{path}:{number}")


def parse_record(line: str, where: str) -> TrajectoryRecord:
    """Parse one line. Raises RecordError, whose message starts with ``where``."""
    try:
        data: dict[str, Any] = json.loads(line)
        version = data["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{where}: not a trajectory record ({error})") from None
    if version != SCHEMA_VERSION:
        raise RecordError(
            f"{where}: schema version {version}, but this version reads {SCHEMA_VERSION}; use the commit in "
            "the run's settings"
        )
    try:
        data["segments"] = [SegmentRecord(**_current_author(segment)) for segment in data["segments"]]
        data["executions"] = [ExecutionRecord(**execution) for execution in data["executions"]]
        return TrajectoryRecord(**renamed.record(data))
    except (KeyError, TypeError) as error:
        raise RecordError(f"{where}: not a trajectory record ({error})") from None


def _current_author(segment: dict[str, Any]) -> dict[str, Any]:
    return {**segment, "author": "tool"} if segment["author"] == "sandbox" else segment


def read_records(path: Path) -> list[TrajectoryRecord]:
    """Return the records of a file without superseded ones.

    Raises:
        RecordError: see :func:`iter_records`.
    """
    records = list(iter_records(path))
    current = current_rows([((r.phase, r.mode), r.step, r.attempt) for r in records])
    return [record for record, keep in zip(records, current, strict=True) if keep]


def superseded(path: Path) -> list[bool]:
    """Return of each record of a file, in order, whether a later attempt has superseded it.

    Raises:
        RecordError: see :func:`iter_records`.
    """
    rows = [((r.phase, r.mode), r.step, r.attempt) for r in iter_records(path)]
    return [not keep for keep in current_rows(rows)]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the metrics of a run's steps, in order, without superseded ones."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]  # drop an incomplete last line
    rows = [renamed.metrics(json.loads(line)) for line in lines]
    current = current_rows([(None, row["step"], row["attempt"]) for row in rows])
    return [row for row, keep in zip(rows, current, strict=True) if keep]


def current_rows(rows: Sequence[tuple[Hashable, int, int]]) -> list[bool]:
    """Return whether each (group, step, attempt) is not superseded by a later attempt within its group."""
    starts: dict[Hashable, dict[int, int]] = {}  # group -> attempt -> its first step
    for group, step, attempt in rows:
        first = starts.setdefault(group, {})
        first[attempt] = min(step, first.get(attempt, step))
    return [
        all(start > step for later, start in starts[group].items() if later > attempt)
        for group, step, attempt in rows
    ]


def last_attempt(path: Path) -> int:
    """Return the highest attempt in a file, -1 if there is none."""
    if not path.exists():
        return -1
    return max((record.attempt for record in iter_records(path)), default=-1)
