"""Loads records into a polars table with a row per trajectory.

The table is cached as Parquet beside the records, under a name with a digest of their content and of the code
that makes it, so that any change invalidates the cache.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from analysis import record_table
from analysis.caveats import caveats
from analysis.record_table import TRAIN, chunks, current, derive, of_phase
from src.config.schema import ConfigError
from src.formats import fence_grammar
from src.run.console import console
from src.run.records import RECORDS, SUMMARY, RecordError

_CACHE = ".cache"
_MODES = ("free", "text", "code")


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
        counted = of_phase(table, self.phase) if self.phase else table.filter(pl.col("phase") != TRAIN)
        warnings = caveats(self.file, counted)
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
    if not phases:
        raise AnalysisError(f"{name}={text}: there are no trajectories in it yet; wait, or leave it out")
    chosen = [source.phase] if source.phase else [phase for phase in phases if phase != TRAIN] or phases
    if len(chosen) > 1 or chosen[0] not in phases:
        raise AnalysisError(
            f"{name}={text}: the records have the phases {', '.join(phases)}; choose one, such as "
            f"{source.path}@{phases[0]}"
        )
    evaluated = table.filter((pl.col("phase") == chosen[0]) & (pl.col("phase") != TRAIN))["step"].unique()
    if len(evaluated) > 1:
        steps = ", ".join(map(str, evaluated.sort()))
        console.print(f"{name}={text}: evaluated at the steps {steps}; the last is used", markup=False)
    table = of_phase(table, chosen[0])
    for caveat in caveats(source.file, table):
        console.print(f"{name}={text}: {caveat}", style="bold yellow", markup=False)
    return table.filter(
        (pl.col("stop_reason") != "infrastructure")
        & (pl.col("mode").is_in(modes) if modes is not None else True)
    )


def load(file: Path, *, code: bool = False, texts: bool = False) -> pl.DataFrame:
    """Return the table of a records file, see :func:`derive`, without superseded trajectories.

    Args:
        file: JSON Lines; an incomplete last line is ignored.
        code: whether to load the column ``code``.
        texts: whether to load ``problem``, ``gold``, ``prompt``, ``segments`` (list of structs with
            ``author``, ``text`` and ``tokens``) and ``outputs`` (list of what each execution printed), too.
            They are read from the records each time; in older records ``prompt`` and outputs are null.

    Raises:
        RecordError: a line is not a record, or has another schema version; names file and line.
    """
    if texts:
        table = current(pl.concat(derive(chunk, texts=True) for chunk in chunks(file)))
        return table if code else table.drop("code")
    cached = _cached(file)
    if not cached.is_file():
        table = current(pl.concat(derive(chunk) for chunk in chunks(file)))
        cached.parent.mkdir(exist_ok=True)
        for old in cached.parent.glob(f"{file.name}-*.parquet"):
            if old != cached:  # another process may have made it meanwhile
                old.unlink(missing_ok=True)
        partial = cached.with_suffix(f".{os.getpid()}.partial")  # analyses may run beside each other
        table.write_parquet(partial, compression="lz4")
        partial.replace(cached)
        return table if code else table.drop("code")
    columns = [name for name in pl.read_parquet_schema(cached) if code or name != "code"]
    return pl.read_parquet(cached, columns=columns)


def _cached(file: Path) -> Path:
    """Return the path of the cached table for the file's current content."""
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256")
    for source in (record_table.__file__, fence_grammar.__file__):
        digest.update(Path(source).read_bytes())
    return file.parent / _CACHE / f"{file.name}-{digest.hexdigest()[:16]}.parquet"
