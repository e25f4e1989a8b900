"""Loads records into a polars table with a row per trajectory.

The table is cached as Parquet beside the records, under a name with a digest of their content and of this
file, so that any change invalidates the cache.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from analysis.caveats import caveats
from src.config.schema import ConfigError
from src.formats import fence_grammar
from src.run.console import console
from src.run.records import RECORDS, SCHEMA_VERSION, SUMMARY, RecordError, parse_record

_CHUNK = 64 << 20  # bytes of records that are parsed at once
_CACHE = ".cache"
_MODES = ("free", "text", "code")

_SEGMENT = pl.Struct({"author": pl.String, "text": pl.String, "tokens": pl.Int64})
_EXECUTION = pl.Struct({"status": pl.String, "seconds": pl.Float64, "error": pl.String, "code": pl.String})
_SCHEMA = pl.Schema(
    {
        "version": pl.Int64,
        "phase": pl.String,
        "mode": pl.String,
        "step": pl.Int64,
        "attempt": pl.Int64,
        "sample": pl.Int64,
        "problem_id": pl.String,
        "subject": pl.String,
        "level": pl.Int64,
        "source": pl.String,
        "budget": pl.Int64,
        "prompt_tokens": pl.Int64,
        "segments": pl.List(_SEGMENT),
        "executions": pl.List(_EXECUTION),
        "stop_reason": pl.String,
        "dropped_tokens": pl.Int64,
        "answer": pl.String,
        "correct": pl.Boolean,
        "correct_lenient": pl.Boolean,
        "seed": pl.Int64,
        "straggler": pl.Boolean,
        "rewards": pl.Struct({"total": pl.Float64}),
    }
)
_OPTIONAL = ("subject", "level", "answer", "seed", "straggler", "rewards", "correct_lenient")


class AnalysisError(ConfigError):
    """Records lack what an analysis needs; the message names the remedy."""


@dataclass(frozen=True)
class Source:
    """The records of a policy, and the phase to use; None: the only one."""

    path: Path
    phase: str | None

    @classmethod
    def parse(cls, text: str) -> Source:
        """Read ``FOLDER``, ``FILE`` or either with ``@PHASE``."""
        name, _, phase = text.partition("@")
        return cls(Path(name).expanduser(), phase or None)

    @property
    def file(self) -> Path:
        """The records file. Raises AnalysisError if it does not exist."""
        file = self.path / RECORDS if self.path.is_dir() else self.path
        if not file.is_file():
            raise AnalysisError(
                f"{file}: this records file does not exist; give the folder of a run or of an evaluation"
            )
        return file

    def settings(self) -> dict[str, Any]:
        """Settings and caveats of the records, for the output."""
        found = summary_settings(self.file.parent) | {"records": str(self.file), "phase": self.phase}
        table = load(self.file)
        counts = pl.col("phase") == self.phase if self.phase else pl.col("phase") != "train"
        warnings = caveats(self.file, table.filter(counts))
        return found | ({"caveats": warnings} if warnings else {})


def summary_settings(folder: Path) -> dict[str, Any]:
    """Return the settings in the summary of a run or an evaluation; empty without one."""
    summary = folder / SUMMARY
    found: dict[str, Any] = json.loads(summary.read_text())["settings"] if summary.is_file() else {}
    return found


def settings(cfg: Any) -> dict[str, Any]:
    """Return the settings of an analysis and of the runs that it read, for the output."""

    def of(source: Any) -> Any:
        if isinstance(source, dict):
            return {name: of(one) for name, one in source.items()}
        return Source.parse(source).settings() if isinstance(source, str) else [of(text) for text in source]

    return {"analysis": asdict(cfg), "runs": {name: of(source) for name, source in cfg.policies.items()}}


def load_arms(
    policies: Mapping[str, str | list[str]], modes: list[str] | None = None, *, code: bool = False
) -> pl.DataFrame:
    """Return the trajectories of several policies, with ``policy`` and ``arm`` (POLICY_MODE) as first
    columns.

    Trajectories lost to the infrastructure are left out.

    Args:
        policies: name -> source, see :meth:`Source.parse`, or several sources with different modes.
        modes: None: all.
        code: whether to load the column ``code``.

    Raises:
        AnalysisError: no policies, no such records, an invalid record, an ambiguous phase, a mode in two
            sources of one policy, or no trajectories.
    """
    if not policies:
        raise AnalysisError(
            "policies={}: no policy is given; give policies='{base: runs/A, rl: runs/B@after}'"
        )
    tables = []
    for name, given in policies.items():
        found: dict[str, str] = {}  # mode -> its source
        for text in [given] if isinstance(given, str) else given:
            part = _load_source(text, f"policies.{name}", modes, code=code)
            for mode in part["mode"].unique().sort():
                if mode in found:
                    raise AnalysisError(
                        f"policies.{name}: {found[mode]} and {text} both have records of mode {mode}; make "
                        "them two policies, or remove one"
                    )
                found[mode] = text
            tables.append(part.select(pl.lit(name).alias("policy"), pl.all()))
    if not tables:
        raise AnalysisError("policies: no policy has records; give policies='{base: runs/A}'")
    table = pl.concat(tables)
    if table.is_empty():
        raise AnalysisError(
            f"modes={modes}: the records of these policies have none of these modes; choose others"
        )
    order = [f"{name}_{mode}" for name in policies for mode in _MODES]
    arm = pl.format("{}_{}", "policy", "mode").cast(pl.Enum(order)).alias("arm")
    return table.select(arm, pl.all())


def _load_source(text: str, name: str, modes: list[str] | None, *, code: bool) -> pl.DataFrame:
    """Return the trajectories of one source; ``name`` is its setting, for messages."""
    source = Source.parse(text)
    try:
        table = load(source.file, code=code)
    except RecordError as error:
        raise AnalysisError(str(error)) from None
    phases = table["phase"].unique().sort().to_list()
    chosen = [source.phase] if source.phase else [phase for phase in phases if phase != "train"] or phases
    if len(chosen) > 1 or chosen[0] not in phases:
        raise AnalysisError(
            f"{name}={text}: the records have the phases {', '.join(phases)}; choose one, such as "
            f"{source.path}@{phases[0]}"
        )
    table = table.filter(pl.col("phase") == chosen[0])
    for caveat in caveats(source.file, table):
        console.print(f"{name}={text}: {caveat}", style="bold yellow", markup=False)
    return table.filter(
        (pl.col("stop_reason") != "infrastructure")
        & (pl.col("mode").is_in(modes) if modes is not None else True)
    )


def load(file: Path, *, code: bool = False) -> pl.DataFrame:
    """Return the table of a records file, see :func:`derive`, without superseded trajectories.

    Args:
        file: JSON Lines; an incomplete last line is ignored.
        code: whether to load the column ``code``.

    Raises:
        RecordError: a line is not a record, or has another schema version; names file and line.
    """
    cached = _cached(file)
    if not cached.is_file():
        table = _current(pl.concat(derive(chunk) for chunk in _chunks(file)))
        cached.parent.mkdir(exist_ok=True)
        for old in cached.parent.glob(f"{file.name}-*.parquet"):
            old.unlink()
        partial = cached.with_suffix(".partial")
        table.write_parquet(partial, compression="lz4")
        partial.replace(cached)
        return table if code else table.drop("code")
    columns = [name for name in pl.read_parquet_schema(cached) if code or name != "code"]
    return pl.read_parquet(cached, columns=columns)


def _cached(file: Path) -> Path:
    """Return the path of the cached table for the file's current content."""
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256")
    for source in (__file__, fence_grammar.__file__):
        digest.update(Path(source).read_bytes())
    return file.parent / _CACHE / f"{file.name}-{digest.hexdigest()[:16]}.parquet"


def _chunks(file: Path) -> Iterator[pl.DataFrame]:
    """Parse a file in chunks of whole lines."""
    yield _SCHEMA.to_frame()
    rest, number = b"", 1  # the unparsed rest of the last chunk, and its line number
    with file.open("rb") as content:
        while piece := content.read(_CHUNK):
            end = piece.rfind(b"\n") + 1
            if not end:
                rest += piece
                continue
            lines = rest + piece[:end]
            yield _parse(lines, file, number)
            number += lines.count(b"\n")
            rest = piece[end:]
    if rest:
        console.print(f"{file}:{number}: ignored: incomplete line of a writer that was killed")


def _parse(lines: bytes, file: Path, number: int) -> pl.DataFrame:
    try:
        table = pl.read_ndjson(BytesIO(lines), schema=_SCHEMA)
        whole = (
            table.height == lines.count(b"\n")
            and table.select(
                (pl.col("version") == SCHEMA_VERSION).all()
                & pl.all_horizontal(pl.exclude(*_OPTIONAL).is_not_null().all())
            ).item()
        )
    except pl.exceptions.PolarsError:
        whole = False
    if whole:
        return table
    for offset, line in enumerate(lines.decode("utf-8", "replace").splitlines(keepends=False)):
        parse_record(line, f"{file}:{number + offset}")
    raise RecordError(
        f"{file}: lines {number} to {number + offset} are records, but cannot be read as a table"
    )


def derive(table: pl.DataFrame) -> pl.DataFrame:
    """Return the columns that analyses use, from parsed records.

    ``policy_tokens``, ``feedback_tokens``, ``policy_chars``; ``executions`` and ``failed`` (numbers of all
    and of failed executions, without infrastructure failures), ``statuses``, ``errors`` and ``seconds``
    (lists with one entry per execution), ``code`` (list of the executed programs), ``reward``, and fields of
    records.
    """
    segment, execution = pl.element().struct, pl.element().struct
    mine = pl.col("segments").list.filter(segment.field("author") == "policy")
    theirs = pl.col("segments").list.filter(segment.field("author") != "policy")
    statuses = pl.col("executions").list.eval(execution.field("status"))
    recorded = pl.col("executions").list.eval(execution.field("code"))
    if table.select(recorded.list.drop_nulls().list.len() < recorded.list.len()).to_series().any():
        # records that are older than recorded programs
        recorded = pl.struct("segments", "executions").map_elements(_programs, pl.List(pl.String))
    return table.select(
        "phase", "mode", "step", "attempt", "sample", "problem_id", "subject", "level", "source", "budget",
        "prompt_tokens",
        mine.list.eval(segment.field("tokens")).list.sum().alias("policy_tokens"),
        theirs.list.eval(segment.field("tokens")).list.sum().alias("feedback_tokens"),
        mine.list.eval(segment.field("text").str.len_chars()).list.sum().cast(pl.Int64).alias("policy_chars"),
        "dropped_tokens",
        statuses.list.eval(pl.element() != "infrastructure").list.sum().cast(pl.Int64).alias("executions"),
        statuses.list.eval(~pl.element().is_in(["ok", "infrastructure"])).list.sum().cast(pl.Int64)
        .alias("failed"),
        statuses.alias("statuses"),
        pl.col("executions").list.eval(execution.field("error")).alias("errors"),
        pl.col("executions").list.eval(execution.field("seconds")).alias("seconds"),
        recorded.alias("code"),
        "stop_reason", "answer", "correct", "correct_lenient", "seed", "straggler",
        pl.col("rewards").struct.field("total").alias("reward"),
    )  # fmt: skip


def _programs(record: dict[str, Any]) -> list[str | None]:
    """Return what a record's executions ran: if it does not say, the last program that each segment opens."""
    recorded = [one["code"] for one in record["executions"]]
    if None not in recorded:
        return recorded
    texts = [one["text"] for one in record["segments"] if one["author"] == "policy"]
    return [fence_grammar.last_program(text) for text in texts[: len(recorded)]]


def _current(table: pl.DataFrame) -> pl.DataFrame:
    """Drop trajectories superseded by a later attempt, as ``src.run.records.read_records`` does."""
    starts = table.group_by("phase", "mode", "attempt").agg(pl.col("step").min().alias("start"))
    if starts["attempt"].n_unique() == 1:
        return table
    later = starts.join(starts, on=["phase", "mode"], suffix="_later").filter(
        pl.col("attempt_later") > pl.col("attempt")
    )
    ends = later.group_by("phase", "mode", "attempt").agg(pl.col("start_later").min().alias("end"))
    return (
        table.join(ends, on=["phase", "mode", "attempt"], how="left", maintain_order="left")
        .filter(pl.col("end").is_null() | (pl.col("step") < pl.col("end")))
        .drop("end")
    )
