"""Token columns: every token of a rollout step and what the loss made of it, as one Parquet file a step.

``RUN/tokens/step-000012-attempt-0.parquet`` has a row per trajectory, in the order of the groups. Its
:data:`KEYS` are those of its line in trajectories.jsonl.
All lists of a row have an entry per token, prompt first, without padding. :data:`SCHEMA` has the types,
:data:`MEANINGS` the meanings. A later attempt supersedes earlier ones from its first step on, as in
metrics.jsonl. Under :data:`CONDITIONS` in its metadata a file has what else its update depended on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from src.run.disk import sync
from src.run.processes import Ranks
from src.run.records import RecordError, current_rows

if TYPE_CHECKING:
    import polars as pl

TOKENS = "tokens"  # folder in that of the run
VERSION = 1
CONDITIONS = b"conditions"  # JSON, of src/trainer/reproducibility.py; missing in older files

KEYS = ("phase", "step", "attempt", "mode", "problem_id", "sample")  # of a trajectory, as in its record
AUTHORS = ("prompt", "policy", "tool")
# Why a token is not trained on; "trained": it is.
REASONS = ("trained", "prompt", "feedback", "excluded", "infrastructure", "replaced")
CLIPS = ("no", "low", "high", "dual")

MEANINGS = MappingProxyType(
    {
        "group": "number of the group in the step, as in the records; null: replaced by dynamic sampling",
        "policy_version": "optimizer steps before the trajectory was sampled",
        "optimizer_step": "optimizer steps before the one that trained on it; null: replaced",
        "process": "rank of the process that sampled and trained on it",
        "micro_batch": "number of its micro-batch in the step and process, from 0; null: replaced",
        "place": "its row in the micro-batch; null: replaced",
        "advantage": "the advantage of each of its tokens; null: replaced",
        "prompt_tokens": "number of tokens of the prompt, the first ones of each list",
        "token_ids": "token ids",
        "author": "prompt, policy or tool",
        "mask": "whether the token counts in the loss",
        "reason": "trained: it does; otherwise why not: prompt; feedback of a tool; excluded: by "
        "trainer.exclude; infrastructure: lost to a failure of it; replaced: by dynamic sampling",
        "sampled_logprob": "logprob in the engine; a null list: the engine gave none; null: not sampled",
        "logprob": "logprob in the trainer, in the forward pass of the loss; null: there was none",
        "old_logprob": "the same before the first optimizer step of the step; a null list: that is logprob",
        "entropy": "entropy in nats of the distribution that the token is from, in the same pass as logprob",
        "ratio": "exp(logprob - old_logprob), before clipping",
        "engine_weight": "weight of trainer.importance_sampling; a null list: no correction",
        "clipped": "no; low, high: the ratio left trainer.clip_low or trainer.clip_high; dual: it left "
        "trainer.dual_clip; in all three the token has no gradient",
    }
)

_CODES = pa.dictionary(pa.int8(), pa.string())
_FLOATS = pa.list_(pa.float32())
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("phase", "mode", "problem_id")),
        *((name, pa.int32()) for name in ("step", "attempt", "sample", "group")),
        *((name, pa.int32()) for name in ("policy_version", "optimizer_step", "process")),
        *((name, pa.int32()) for name in ("micro_batch", "place")),
        ("advantage", pa.float32()),
        ("prompt_tokens", pa.int32()),
        ("token_ids", pa.list_(pa.int32())),
        ("author", pa.list_(_CODES)),
        ("mask", pa.list_(pa.bool_())),
        ("reason", pa.list_(_CODES)),
        *((name, _FLOATS) for name in ("sampled_logprob", "logprob", "old_logprob", "entropy")),
        *((name, _FLOATS) for name in ("ratio", "engine_weight")),
        ("clipped", pa.list_(_CODES)),
    ],
    metadata={"version": str(VERSION)},
)
# Bytes of floats are stored by significance, which halves the time and compresses better.
_SPLIT = [f"{field.name}.list.element" for field in SCHEMA if field.type == _FLOATS]
_REPEATED = [field.name for field in SCHEMA if not pa.types.is_list(field.type)]
_REPEATED += [f"{name}.list.element" for name in ("token_ids", "author", "reason", "clipped")]
_NAME = re.compile(r"step-(\d+)-attempt-(\d+)\.parquet")


class TokenWriter:
    """Writes the token columns of a run; rank 0 writes those of all processes.

    Args:
        run_dir: the folder of the run.
        ranks: the processes.
    """

    def __init__(self, run_dir: Path, ranks: Ranks) -> None:
        self._folder, self._ranks = run_dir / TOKENS, ranks
        if ranks.first:
            self._folder.mkdir(parents=True, exist_ok=True)
            for partial in self._folder.glob("*.partial"):
                partial.unlink()  # its writer was killed

    def write(
        self, table: pa.Table, step: int, attempt: int, conditions: Mapping[str, Any] | None = None
    ) -> None:
        """Write the rows of a step atomically; collective. When this returns they survive a crash.

        Args:
            table: the rows of this process, of :data:`SCHEMA`.
            step: rollout step, from 0.
            attempt: number of times that the run had been resumed.
            conditions: of the update, in the first process.
        """
        tables = self._ranks.gather_to_first(table)
        if not self._ranks.first:
            return
        path = self._folder / f"step-{step:06d}-attempt-{attempt}.parquet"
        partial = path.with_suffix(".partial")
        table = pa.concat_tables(tables)
        if conditions is not None:
            known = {**SCHEMA.metadata, CONDITIONS: json.dumps(conditions).encode()}
            table = table.replace_schema_metadata(known)
        pq.write_table(
            table,
            partial,
            compression="zstd",
            use_dictionary=_REPEATED,
            use_byte_stream_split=_SPLIT,
        )
        sync(partial)
        partial.replace(path)
        sync(path.parent)


def token_files(run_dir: Path) -> dict[int, Path]:
    """Return the file of each step that has one, in order, without superseded ones; empty for older runs."""
    found = []
    for path in (run_dir / TOKENS).glob("*.parquet"):
        if match := _NAME.fullmatch(path.name):
            found.append((int(match[1]), int(match[2]), path))
    found.sort()
    current = current_rows([(None, step, attempt) for step, attempt, _ in found])
    return {step: path for (step, _, path), keep in zip(found, current, strict=True) if keep}


def read_tokens(run_dir: Path, step: int) -> pl.DataFrame:
    """Return the token columns of a step; codes are enumerations of :data:`AUTHORS` and the like.

    Raises:
        RecordError: there are none, they have another version, or the file is damaged.
    """
    import polars as pl  # starts threads, so not in a process that only writes

    files = token_files(run_dir)
    if step not in files:
        what = f"those of steps {min(files)} to {max(files)} are there" if files else "it has none at all"
        raise RecordError(
            f"{run_dir}: no token columns of step {step}; {what} (they are written with records.tokens=true)"
        )
    try:
        version = (pq.read_schema(files[step]).metadata or {}).get(b"version", b"none").decode()
        table = pl.read_parquet(files[step], glob=False) if version == str(VERSION) else pl.DataFrame()
    except (pa.ArrowInvalid, pl.exceptions.PolarsError) as error:
        raise RecordError(
            f"{files[step]}: damaged, perhaps cut short in copying ({error}); copy it again, or delete it"
        ) from None
    if version != str(VERSION):
        raise RecordError(f"{files[step]}: version {version}, but this version reads {VERSION}")
    codes = {"author": AUTHORS, "reason": REASONS, "clipped": CLIPS}
    return table.with_columns(pl.col(name).cast(pl.List(pl.Enum(values))) for name, values in codes.items())


def read_conditions(run_dir: Path, step: int) -> dict[str, Any] | None:
    """Return the conditions of a step's update; None: there are no columns of it, or without them."""
    path = token_files(run_dir).get(step)
    found = (pq.read_schema(path).metadata or {}).get(CONDITIONS) if path else None
    return dict(json.loads(found)) if found else None
