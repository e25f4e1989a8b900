"""Reads what an offline run of Weights & Biases holds: a LevelDB log of protobuf records."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

_BLOCK, _HEADER, _TRAILER = 32768, 7, 7
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def records(run: Path) -> Iterator[Record]:
    """Yield the records in the folder of an offline run."""
    (file,) = run.glob("*.wandb")
    data, at, parts = file.read_bytes(), _HEADER, []
    while at + _TRAILER <= len(data):
        if _BLOCK - at % _BLOCK < _TRAILER:  # the rest of a block is empty
            at += _BLOCK - at % _BLOCK
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + _TRAILER])
        assert kind in (_FULL, _FIRST, _MIDDLE, _LAST), f"{file}: no record at {at}"
        parts.append(data[at + _TRAILER : at + _TRAILER + size])
        at += _TRAILER + size
        if kind in (_FULL, _LAST):
            record = Record()
            record.ParseFromString(b"".join(parts))
            parts.clear()
            yield record


def history(run: Path) -> list[dict[str, Any]]:
    """Return what was logged, a dictionary for each step, without W&B's own entries."""
    rows = []
    for record in records(run):
        if record.WhichOneof("record_type") == "history":
            items = {
                "/".join(one.nested_key) or one.key: json.loads(one.value_json) for one in record.history.item
            }
            rows.append({key: value for key, value in items.items() if not key.startswith("_")})
    return rows
