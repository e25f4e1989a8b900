"""Token columns on disk: whole files or none, superseded attempts, folders without."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from src.config.paths import ROOT
from src.run.processes import Ranks
from src.run.records import RecordError
from src.run.token_columns import MEANINGS, SCHEMA, TOKENS, TokenWriter, read_tokens, token_files

KEYS = ("phase", "step", "attempt", "mode", "problem_id", "sample")


def table(step: int, attempt: int) -> pa.Table:
    row = {
        "phase": "train",
        "mode": "free",
        "problem_id": "p0",
        "step": step,
        "attempt": attempt,
        "sample": 0,
    }
    return pa.Table.from_pylist([row], SCHEMA)


def write(folder: Path, *attempts: list[int]) -> None:
    for attempt, steps in enumerate(attempts):
        writer = TokenWriter(folder, Ranks())
        for step in steps:
            writer.write(table(step, attempt), step, attempt)


def test_every_column_is_a_key_or_has_a_meaning() -> None:
    assert set(SCHEMA.names) == {*KEYS, *MEANINGS}


def test_superseded_attempts_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, [0, 1, 2, 3], [2], [1, 2])
    assert len(list((tmp_path / TOKENS).iterdir())) == 7
    files = token_files(tmp_path)
    assert {step: path.name for step, path in files.items()} == {
        0: "step-000000-attempt-0.parquet",
        1: "step-000001-attempt-2.parquet",
        2: "step-000002-attempt-2.parquet",
    }
    assert read_tokens(tmp_path, 1)["attempt"].to_list() == [2]
    with pytest.raises(RecordError, match=r"no token columns of step 3; those of steps 0 to 2 are there"):
        read_tokens(tmp_path, 3)


def test_a_run_without_says_how_to_get_them(tmp_path: Path) -> None:
    assert token_files(tmp_path) == {}
    with pytest.raises(RecordError, match=r"it has none at all \(.*records\.tokens=true\)"):
        read_tokens(tmp_path, 0)


def test_another_version_is_refused(tmp_path: Path) -> None:
    write(tmp_path, [0])
    (path,) = token_files(tmp_path).values()
    pq.write_table(table(0, 0).replace_schema_metadata({"version": "9"}), path)
    with pytest.raises(RecordError, match=r"step-000000-attempt-0\.parquet: version 9, .* reads 1"):
        read_tokens(tmp_path, 0)


KILLED = """
import os, signal, sys
from pathlib import Path
from src.run import token_columns
from src.run.processes import Ranks
from tests.run.test_token_columns import table

token_columns.sync = lambda path: os.kill(os.getpid(), signal.SIGKILL)
token_columns.TokenWriter(Path(sys.argv[1]), Ranks()).write(table(0, 0), 0, 0)
"""


@pytest.mark.parametrize("part", ["end", "beginning"])
def test_a_damaged_file_is_named(tmp_path: Path, part: str) -> None:
    write(tmp_path, [0])
    (path,) = token_files(tmp_path).values()
    content = path.read_bytes()
    path.write_bytes(content[:300] if part == "end" else bytes(300) + content[300:])
    with pytest.raises(RecordError, match=rf"{path.name}: damaged, .*; copy it again, or delete it"):
        read_tokens(tmp_path, 0)


def test_a_file_of_a_killed_writer_is_no_file(tmp_path: Path) -> None:
    """Killed between writing and renaming; the next attempt cleans up."""
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, timeout=120)
    assert ended.returncode == -signal.SIGKILL
    assert [path.suffix for path in (tmp_path / TOKENS).iterdir()] == [".partial"]
    assert token_files(tmp_path) == {}
    write(tmp_path, [], [0])
    assert [path.name for path in (tmp_path / TOKENS).iterdir()] == ["step-000000-attempt-1.parquet"]
