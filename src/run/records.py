"""What trajectories look like on disk: JSON Lines, one trajectory a line, append-only, versioned.

A resumed run replays the steps after its checkpoint and writes them with a higher ``attempt``. From
the first step of an attempt on, everything of earlier attempts is superseded: it was sampled by
weights that are no more. :func:`read_records` leaves it out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from src.run import renamed
from src.run.processes import Ranks

SCHEMA_VERSION = 1
# What lies in the folder of a run or of an evaluation.
RECORDS, METRICS, SUMMARY, CONFIG = "trajectories.jsonl", "metrics.jsonl", "summary.json", "config.json"


class RecordError(ValueError):
    """A records file that cannot be read as such; the message names file and line."""


@dataclass(frozen=True)
class SegmentRecord:
    """A run of tokens with one author (``policy`` or ``tool``); ``tokens`` is their number.

    ``tool`` names whose result it holds. In older records the author of a result is ``sandbox``; what reads
    records makes ``tool`` of it.
    """

    author: str
    text: str
    tokens: int
    tool: str | None = None


@dataclass(frozen=True)
class ExecutionRecord:
    """One call: its status, wall seconds, last error line, its tool, and what was called.

    ``code`` is the program, or the arguments of another tool; None: the record is older than the field.
    """

    status: str
    seconds: float
    error: str | None
    tool: str = "python"
    code: str | None = None


@dataclass(frozen=True)
class Occasion:
    """When trajectories are sampled, see :class:`TrajectoryRecord`."""

    phase: str
    step: int = 0
    attempt: int = 0


@dataclass(frozen=True)
class TrajectoryRecord:
    """One trajectory with everything the analyses need.

    Attributes:
        phase: ``train``, or the name of an evaluation (``before``, ``after``).
        step: rollout step at which it was sampled, from 0.
        attempt: 0, and one more for every resume.
        sample: index among the trajectories of the problem in this step.
        stop_reason: see src/rollout/trajectory.py; in records older than ``no_answer``, ``answered`` is that,
            too, where ``answer`` is None.
        correct: the answer is equivalent to the gold answer; never inferred from the reward (docs/design.md,
            invariant Correctness).
        lenient: it is, or the last integer of the last line is the gold answer; None: not asked for.
        fabricated_output: the policy itself sampled the content of an output block, even if that was thrown
            away; None: the record is older than the field.
        prompt_style: how the problem was put (``model.prompt_style``); None: the record is older.
        rewards: every reward term by name, and ``total``; None where the trajectory is excluded.
        seed: of its random stream; None: it shared one with others, or the record is older than the field.
        straggler: ``rollout.max_seconds`` ended it; None: the record is older than the field.
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
    lenient: bool | None = None
    fabricated_output: bool | None = None
    seed: int | None = None
    straggler: bool | None = None
    prompt_style: str | None = None
    version: int = field(default=SCHEMA_VERSION)

    def tokens(self, author: str) -> int:
        """Number of tokens of one author."""
        return sum(segment.tokens for segment in self.segments if segment.author == author)


class LineWriter:
    """Appends objects to a JSON Lines file; whole lines only, each batch flushed to the disk.

    A last line that an earlier process left torn is cut off when the file is opened.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _cut_torn_line(path)
        self._file = path.open("ab")

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        """Append ``rows``; when this returns they survive a kill."""
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        # Lone surrogates, which a program may print, have no UTF-8 form.
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
    """Appends the records of several processes to one file, which the first of them writes.

    Until :meth:`share` the others keep theirs in files of their own beside it: should the run end before,
    they lie there.

    Args:
        path: the file.
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
        """Hand over what is waiting; collective."""
        if self._ranks.world == 1:
            return
        for records in self._ranks.gather_to_first(self._waiting)[1:]:
            super().write_records(records)
        self._waiting = []
        self._ranks.wait()  # it is on the disk
        if not self._ranks.first:
            self._file.truncate(0)

    def close(self) -> None:
        """Close the file; one of its own goes when everything in it is handed over."""
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
    """Yield every record of a file in order, superseded ones included; a torn last line is left out.

    Raises:
        RecordError: a line before the last is no record, or has another schema version.
    """
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith("\n"):
                return  # torn: its writer was killed
            yield parse_record(line, f"{path}:{number}")


def parse_record(line: str, where: str) -> TrajectoryRecord:
    """Read one line of records. Raises RecordError, which begins with ``where``."""
    try:
        data: dict[str, Any] = json.loads(line)
        version = data["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{where}: not a trajectory record ({error})") from None
    if version != SCHEMA_VERSION:
        raise RecordError(
            f"{where}: schema version {version}, but this program reads version {SCHEMA_VERSION}; "
            "use the commit named in the run's settings"
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
    """Return the records of a file without the superseded ones.

    Raises:
        RecordError: see :func:`iter_records`.
    """
    records = list(iter_records(path))
    alive = _alive([((r.phase, r.mode), r.step, r.attempt) for r in records])
    return [record for record, lives in zip(records, alive, strict=True) if lives]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the metrics of a run's steps, in order, without the superseded ones."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]  # what follows the last newline is torn
    rows = [renamed.metrics(json.loads(line)) for line in lines]
    alive = _alive([(None, row["step"], row["attempt"]) for row in rows])
    return [row for row, lives in zip(rows, alive, strict=True) if lives]


def _alive(rows: list[tuple[Hashable, int, int]]) -> list[bool]:
    """Whether each (group, step, attempt) is not superseded by a later attempt within its group."""
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


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write ``data`` whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(data, indent=2) + "\n")
    partial.replace(path)
