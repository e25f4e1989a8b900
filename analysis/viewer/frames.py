"""Frames: named columns as one block of bytes that the page reads without parsing (page/frames.js).

A frame is deflated: the length of its header as a 32-bit little-endian integer, the header as JSON, then the
columns. The header has ``json``, values as they are, and ``columns``: name -> [kind, offset, length].
Floats of kind ``f16`` have 11 significant bits (three digits; above 65,504 they are infinite); their high
bytes come first, then their low bytes, which compresses better.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

NULL16 = 0xFE00  # a NaN with a sign: no value; other NaNs are values
_NAN16 = 0x7E00
_KINDS = {"u1": "u8", "u2": "u16", "u4": "u32", "i4": "i32", "f8": "f64"}


def frame(values: Mapping[str, Any], columns: Mapping[str, np.ndarray]) -> bytes:
    """Return a deflated frame.

    Args:
        values: what is written as JSON; nan and infinity become null.
        columns: arrays of unsigned bytes, 16- and 32-bit integers, or 64-bit floats; arrays of float16 are
            given by :func:`half`.
    """
    placed, blocks, at = {}, [], 0
    for name, column in columns.items():
        if column.dtype == np.dtype("V2"):
            planes = column.view(np.uint8).reshape(-1, 2)
            kind, data = "f16", planes[:, 1].tobytes() + planes[:, 0].tobytes()
        else:
            kind = _KINDS[column.dtype.str[1:]]
            data = column.astype(column.dtype.newbyteorder("<")).tobytes()
        placed[name] = [kind, at, len(column)]
        padding = -len(data) % 8  # typed arrays of a page start at multiples of their width
        blocks += [data, bytes(padding)]
        at += len(data) + padding
    header = json.dumps({"json": plain(values), "columns": placed}, separators=(",", ":")).encode()
    header += b" " * (-(len(header) + 4) % 8)
    return zlib.compress(len(header).to_bytes(4, "little") + header + b"".join(blocks), 9)


def half(values: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Return numbers as the float16 column of a frame, with null where ``null`` is true."""
    with np.errstate(over="ignore"):
        found = values.astype(np.float16)
    raw = found.astype("<f2").view("<u2").copy()
    raw[np.isnan(found)] = _NAN16
    raw[null] = NULL16
    return raw.view("V2")


def numbers(values: Iterable[float | None]) -> np.ndarray:
    """Return numbers as 64-bit floats, in which integers are exact up to 2^53; NaN means null."""
    return np.array([math.nan if one is None else one for one in values], np.float64)


def codes(values: Sequence[str | None]) -> tuple[list[str], np.ndarray]:
    """Return the distinct texts, sorted, and the number of each value's text; 0 is null, so 1 the first."""
    names = sorted({one for one in values if one is not None})
    place: dict[str | None, int] = {name: number for number, name in enumerate(names, start=1)}
    wide = np.uint8 if len(names) < 256 else np.uint16 if len(names) < 65536 else np.uint32
    return names, np.array([place.get(one, 0) for one in values], wide)


def plain(value: Any) -> Any:
    """Return a value that JSON can say: nan and infinity become null."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
