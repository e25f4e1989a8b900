"""Parses records into a polars table with a row per trajectory, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from src.formats import fence_grammar
from src.run.console import console
from src.run.records import SCHEMA_VERSION, RecordError, parse_record

TRAIN = "train"  # the phase of training
_CHUNK = 64 << 20  # bytes of records that are parsed at once

_SEGMENT = pl.Struct({"author": pl.String, "text": pl.String, "tokens": pl.Int64})
_EXECUTION = pl.Struct(
    {
        "status": pl.String,
        "seconds": pl.Float64,
        "error": pl.String,
        "code": pl.String,
        "output": pl.String,
    }
)
_SCHEMA = pl.Schema(
    {
        "version": pl.Int64,
        "phase": pl.String,
        "mode": pl.String,
        "step": pl.Int64,
        "attempt": pl.Int64,
        "sample": pl.Int64,
        "problem_id": pl.String,
        "problem": pl.String,
        "gold": pl.String,
        "prompt": pl.String,
        "group": pl.Int64,
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
_OPTIONAL = (
    "subject",
    "level",
    "answer",
    "seed",
    "straggler",
    "rewards",
    "correct_lenient",
    "prompt",
    "group",
)
TEXTS = ("problem", "gold", "prompt", "segments", "outputs")  # columns of load(texts=True)


def chunks(file: Path) -> Iterator[pl.DataFrame]:
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
    for offset, line in enumerate(lines.decode("utf-8", "replace").removesuffix("\n").split("\n")):
        parse_record(line, f"{file}:{number + offset}")
    raise RecordError(
        f"{file}: lines {number} to {number + offset} are records, but cannot be read as a table"
    )


def derive(table: pl.DataFrame, *, texts: bool = False) -> pl.DataFrame:
    """Return the columns that analyses use, from parsed records.

    ``policy_tokens``, ``feedback_tokens``, ``policy_chars``; ``executions`` and ``failed`` (numbers of all
    and of failed executions, without infrastructure failures), ``statuses``, ``errors`` and ``seconds``
    (lists with one entry per execution), ``code`` (list of the executed programs), ``reward``, and fields of
    records; with ``texts`` also :data:`TEXTS`.
    """
    segment, execution = pl.element().struct, pl.element().struct
    mine = pl.col("segments").list.filter(segment.field("author") == "policy")
    theirs = pl.col("segments").list.filter(segment.field("author") != "policy")
    statuses = pl.col("executions").list.eval(execution.field("status"))
    recorded = pl.col("executions").list.eval(execution.field("code"))
    if table.select(recorded.list.drop_nulls().list.len() < recorded.list.len()).to_series().any():
        # records that are older than recorded programs
        recorded = pl.struct("segments", "executions").map_elements(programs, pl.List(pl.String))
    outputs = pl.col("executions").list.eval(execution.field("output")).alias("outputs")
    wanted = [outputs if name == "outputs" else pl.col(name) for name in TEXTS] if texts else []
    return table.select(
        "phase", "mode", "step", "attempt", "group", "sample", "problem_id", "subject", "level", "source",
        "budget", "prompt_tokens",
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
        *wanted,
    )  # fmt: skip


def programs(record: dict[str, Any]) -> list[str | None]:
    """Return what a record's executions ran: if it does not say, the last program that each segment opens."""
    recorded = [one["code"] for one in record["executions"]]
    if None not in recorded:
        return recorded
    texts = [one["text"] for one in record["segments"] if one["author"] == "policy"]
    return [fence_grammar.last_program(text) for text in texts[: len(recorded)]]


def of_phase(table: pl.DataFrame, phase: str) -> pl.DataFrame:
    """Return the trajectories of a phase; of an evaluation, those of the last policy that it evaluated.

    A run that was resumed after its end has been evaluated at its old and at its new last step.
    """
    found = table.filter(pl.col("phase") == phase)
    return found if phase == TRAIN else found.filter(pl.col("step") == pl.col("step").max())


def current(table: pl.DataFrame) -> pl.DataFrame:
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
