"""Reads the present state of a run from its folder, while it is being written."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from src.run.folder_lock import LOCK
from src.run.records import METRICS, RECORDS, RecordError, TrajectoryRecord, parse_record, read_metrics
from src.run.status import RUNNING, STATUS

KILLED, UNKNOWN = "killed", "unknown"
_CHUNK = 1 << 20  # bytes read at once from the end of the records
_MOST = 64 << 20  # longest record that is looked for
_LINGER = 10.0  # seconds after which a folder without a lock, but with the state running, is a killed run's


@dataclass(frozen=True)
class Frame:
    """What is known of a run at one moment.

    Attributes:
        folder: of the run.
        state: running, finished, interrupted or failed; ``killed``: it ended without saying so; ``unknown``:
            it is older than status.json.
        status: the content of status.json; empty if there is none.
        rows: the metrics of its steps.
        last: its last trajectory, if any.
        silent: seconds since status.json was written, None without one.
    """

    folder: Path
    state: str
    status: dict[str, Any]
    rows: Sequence[dict[str, Any]]
    last: TrajectoryRecord | None
    silent: float | None


def read_frame(folder: Path) -> Frame:
    """Return the present state of the run in ``folder``."""
    status = _status(folder / STATUS)
    written = status.get("updated")
    silent = time.time() - datetime.fromisoformat(written).timestamp() if written else None
    state = str(status.get("state", UNKNOWN))
    if state == RUNNING and silent is not None and silent > _LINGER and not _locked(folder / LOCK):
        # it may have ended just now, after its status was read
        status = _status(folder / STATUS)
        state = str(status.get("state", UNKNOWN))
        state = KILLED if state == RUNNING else state
    return Frame(folder, state, status, read_metrics(folder / METRICS), last_record(folder / RECORDS), silent)


def last_record(file: Path) -> TrajectoryRecord | None:
    """Return the last complete record of a file, reading only its end; None if there is none."""
    try:
        with file.open("rb") as content:
            at, data = content.seek(0, os.SEEK_END), b""
            while at > 0 and len(data) < _MOST:
                size = min(_CHUNK, at)
                at -= size
                content.seek(at)
                data = content.read(size) + data
                lines = data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]
                if lines and (at == 0 or len(lines) > 1):
                    return parse_record(lines[-1].decode("utf-8", "replace"), str(file))
    except (OSError, RecordError):
        return None
    return None


def _status(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text()))
    except (OSError, ValueError):
        return {}


def _locked(file: Path) -> bool:
    """Whether a process holds the lock of a folder; also True where that cannot be told."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno != errno.EBADF
    else:
        return False
    finally:
        os.close(descriptor)
