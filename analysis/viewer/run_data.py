"""A run as the viewer reads it: an index with a row per trajectory, and chunks with texts and tokens.

Rows are in the order of the records, without superseded ones, and divided into chunks. Only the index is
held in memory, so that a server can show a large run, or one that is still being written.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.live import read_frame
from analysis.record_table import programs
from analysis.viewer import frames
from analysis.viewer.tokens import DIGEST, Key, StepTokens, TrajectoryTokens, key, surprising, tokens_frame
from src.run.console import console
from src.run.records import CONFIG, RECORDS, SUMMARY, TrajectoryRecord, current_rows, parse_record
from src.run.token_columns import token_files

if TYPE_CHECKING:
    from src.policy.codec import TokenCodec

# A chunk ends at whichever comes first.
CHUNK_ROWS, CHUNK_TOKENS, CHUNK_BYTES = 64, 300_000, 4 << 20
_KEPT = 3  # steps whose tokens are kept in memory
# Of the index: texts are chosen from a list, numbers and truths are numbers; null: unknown.
TEXTS = (
    *("phase", "mode", "problem_id", "subject", "source", "stop_reason", "answer", "gold"),
    *("grading_failure", "prompt_style"),
)
NUMBERS = (
    *("step", "attempt", "sample", "number", "level", "budget", "prompt_tokens", "policy_tokens"),
    *("feedback_tokens", "dropped_tokens", "executions", "failed", "seconds", "correct", "correct_lenient"),
    *("fabricated_output", "straggler", "reward", "group", *DIGEST, "token_columns"),
)


@dataclass
class Row:
    """A trajectory in the index; ``values`` are those of :data:`TEXTS` and :data:`NUMBERS`."""

    offset: int  # of its line in the records, in bytes
    length: int
    key: Key
    values: dict[str, Any]
    rewards: dict[str, float] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Number of its tokens."""
        one = self.values
        return int(one["prompt_tokens"] + one["policy_tokens"] + one["feedback_tokens"])


class RunData:
    """Reads a run, or an evaluation, and what has been added to it since.

    Args:
        name: of the run in the page.
        folder: of the run.
        codec: of its tokenizer; None: tokens have no text.
        without_codec: why there is no codec.
    """

    def __init__(self, name: str, folder: Path, codec: TokenCodec | None, without_codec: str = "") -> None:
        self.name, self.folder, self.codec, self.without_codec = name, folder, codec, without_codec
        self.rows: list[Row] = []
        self.epoch = 0  # rows of another epoch have other numbers
        self.version = 0  # whenever something has changed
        self._forget()

    def _forget(self) -> None:
        self._all: list[Row] = []
        self._seen: Counter[Key] = Counter()
        self._read = 0  # bytes of the records
        self._merged = 0  # of all, in rows unless superseded
        self._attempts: set[int] = set()
        self._files: dict[int, Path] = {}  # token files that have been digested
        self._surprising: dict[int, list[dict[str, Any]]] = {}
        self._steps: OrderedDict[int, StepTokens] = OrderedDict()

    def refresh(self, seconds: float = math.inf) -> bool:
        """Read what is new; return whether something was.

        Args:
            seconds: after which the rest of the token columns is left for the next time.

        Raises:
            RecordError: the records or token columns are damaged.
        """
        files = token_files(self.folder)  # first, so that the records of each file are there
        changed = self._refresh_records()
        changed |= self._refresh_tokens(files, time.monotonic() + seconds)
        self.version += changed
        return changed

    def _refresh_records(self) -> bool:
        file = self.folder / RECORDS
        if file.stat().st_size < self._read:  # replaced by another
            self._forget()
            self.rows, self.epoch = [], self.epoch + 1
        with file.open("rb") as content:
            content.seek(self._read)
            for line in content:
                if not line.endswith(b"\n"):
                    break  # it is being written, or its writer was killed
                record = parse_record(line.decode("utf-8", "replace"), f"{file}:{len(self._all) + 1}")
                self._all.append(self._row(record, self._read, len(line)))
                self._read += len(line)
        new = self._all[self._merged :]
        if not new:
            return False
        self._merged = len(self._all)
        attempts = {row.values["attempt"] for row in new}
        if attempts <= self._attempts:
            self.rows += new
            return True
        self._attempts |= attempts
        each = [row.values for row in self._all]
        keep = current_rows([((one["phase"], one["mode"]), one["step"], one["attempt"]) for one in each])
        kept = [row for row, current in zip(self._all, keep, strict=True) if current]
        if any(old is not new for old, new in zip_longest(self.rows, kept[: len(self.rows)])):
            self.epoch += 1
            self._surprising, self._files = {}, {}
        self.rows = kept
        return True

    def _row(self, record: TrajectoryRecord, offset: int, length: int) -> Row:
        found = key(record)
        values = {name: getattr(record, name) for name in (*TEXTS, *NUMBERS) if hasattr(record, name)}
        ran = [one for one in record.executions if one.status != "infrastructure"]
        values |= dict.fromkeys(DIGEST) | {
            "number": self._seen[found],
            "policy_tokens": record.tokens("policy"),
            "feedback_tokens": sum(one.tokens for one in record.segments) - record.tokens("policy"),
            "executions": len(ran),
            "failed": sum(one.status != "ok" for one in ran),
            "seconds": sum(one.seconds for one in record.executions),
            "reward": (record.rewards or {}).get("total"),
            "token_columns": False,
        }
        self._seen[found] += 1
        return Row(offset, length, found, values, record.rewards or {})

    def _refresh_tokens(self, files: dict[int, Path], until: float) -> bool:
        """Digest the token files that are new."""
        new = [step for step, path in files.items() if self._files.get(step) != path]
        if not new:
            return False
        numbers: dict[int, list[int]] = {step: [] for step in new}
        for number, row in enumerate(self.rows):
            numbers.get(row.values["step"], []).append(number)
        for step in new:
            self._steps.pop(step, None)
            found = {number: self._tokens(self.rows[number]) for number in numbers[step]}
            for number, one in found.items():
                if one is not None:
                    self.rows[number].values |= one.digest() | {"token_columns": True}
            self._surprising[step] = [
                self._with_text(one)
                for one in surprising({number: one for number, one in found.items() if one is not None})
            ]
            self._files[step] = files[step]
            if time.monotonic() > until:
                break
        return True

    def _with_text(self, token: dict[str, Any]) -> dict[str, Any]:
        if self.codec is None:
            return token
        return token | {"text": self.codec.bytes_of(token["id"]).decode("utf-8", "backslashreplace")}

    def _tokens(self, row: Row) -> TrajectoryTokens | None:
        step = row.values["step"]
        if step not in self._steps:
            if step not in token_files(self.folder):
                return None
            self._steps[step] = StepTokens(self.folder, step)
            while len(self._steps) > _KEPT:
                self._steps.popitem(last=False)
        self._steps.move_to_end(step)
        return self._steps[step].of(row.key, row.values["number"])

    def starts(self) -> list[int]:
        """Return the number of the first row of each chunk, and of the row after the last."""
        found, tokens, size = [0], 0, 0
        for number, row in enumerate(self.rows):
            tokens, size = tokens + row.size, size + row.length
            full = number - found[-1] >= CHUNK_ROWS or tokens > CHUNK_TOKENS or size > CHUNK_BYTES
            if full and number > found[-1]:
                found.append(number)
                tokens, size = row.size, row.length
        return [*found, len(self.rows)] if self.rows else [0]

    def _chunk(self, chunk: int) -> list[Row]:
        starts = self.starts()
        return self.rows[starts[chunk] : starts[chunk + 1]]

    def index(self) -> bytes:
        """Return the index as a frame."""
        lists, columns = {}, {}
        for name in TEXTS:
            lists[name], columns[name] = frames.codes([row.values[name] for row in self.rows])
        for name in NUMBERS:
            columns[name] = frames.numbers(row.values[name] for row in self.rows)
        terms = sorted({term for row in self.rows for term in row.rewards} - {"total"})
        for term in terms:
            columns[f"reward/{term}"] = frames.numbers(row.rewards.get(term) for row in self.rows)
        values = {
            "name": self.name,
            "epoch": self.epoch,
            "version": self.version,
            "texts": lists,
            "numbers": [*NUMBERS, *(f"reward/{term}" for term in terms)],
            "starts": self.starts(),
            "surprising": {str(step): found for step, found in self._surprising.items()},
            "note": self._note(),
        }
        return frames.frame(values, columns)

    def _note(self) -> str:
        """Return what the reader must know of the tokens; empty if all is there."""
        if not any(row.values["token_columns"] for row in self.rows):
            return (
                "This run has no token columns (records.tokens=true writes them), so that trajectories are "
                "shown by segment."
            )
        if self.codec is None:
            return f"Trajectories are shown by segment, since the tokenizer is missing: {self.without_codec}"
        return ""

    def records(self, rows: list[Row]) -> Iterator[TrajectoryRecord]:
        """Yield the records of some rows."""
        with (self.folder / RECORDS).open("rb") as content:
            for row in rows:
                content.seek(row.offset)
                line = content.read(row.length).decode("utf-8", "replace")
                yield parse_record(line, f"{self.folder / RECORDS}, byte {row.offset}")

    def texts(self, chunk: int) -> bytes:
        """Return the texts of a chunk as a frame."""
        return frames.frame({"rows": [_text(one) for one in self.records(self._chunk(chunk))]}, {})

    def tokens(self, chunk: int) -> bytes:
        """Return the tokens of a chunk as a frame."""
        found = [self._tokens(row) if row.values["token_columns"] else None for row in self._chunk(chunk)]
        return tokens_frame(found, self.codec)

    def about(self) -> bytes:
        """Return metrics, settings, summary and state of the run as a frame."""
        now = read_frame(self.folder)
        return frames.frame(
            {
                "folder": self.folder.name,
                "state": now.state,
                "metrics": list(now.rows),
                "config": _json(self.folder / CONFIG),
                "summary": _json(self.folder / SUMMARY),
            },
            {},
        )

    def search(self, words: list[str]) -> list[int]:
        """Return the numbers of the rows whose texts contain each of ``words``, in lower case."""
        found = []
        for number, record in enumerate(self.records(self.rows)):
            text = searched(_text(record)).lower()
            if all(word in text for word in words):
                found.append(number)
        return found


def _text(record: TrajectoryRecord) -> dict[str, Any]:
    """Return what the page shows of a record beside its row of the index."""
    whole = asdict(record)
    ran = [one | {"code": code} for one, code in zip(whole["executions"], programs(whole), strict=False)]
    ran += whole["executions"][len(ran) :]
    names = ("problem", "prompt", "rewards", "segments")
    seed = None if record.seed is None else str(record.seed)  # above 2^53
    return {name: whole[name] for name in names} | {"executions": ran, "seed": seed}


def searched(text: dict[str, Any]) -> str:
    """Return the text of a trajectory in which words are searched; page/store.js does the same."""
    parts = [text["problem"], *(one["text"] for one in text["segments"])]
    for one in text["executions"]:
        parts += [one["code"], one["output"], one["error"]]
    return "\n".join(part for part in parts if part)


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        console.print(f"{file}: not shown ({error})", markup=False)
        return None
