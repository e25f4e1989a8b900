"""Reads pages and frames of the viewer as the page itself does."""

from __future__ import annotations

import base64
import json
import math
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from analysis.viewer import frames
from analysis.viewer.run_data import RunData
from tests.analysis.viewer import run_files as made

TYPES = {"u8": "<u1", "u16": "<u2", "u32": "<u4", "i32": "<i4", "f64": "<f8"}


def unpack(data: bytes) -> dict[str, Any]:
    """Read a frame as the page does; float16 columns become lists, with None for null."""
    raw = zlib.decompress(data)
    length = int.from_bytes(raw[:4], "little")
    header, body = json.loads(raw[4 : 4 + length]), raw[4 + length :]
    found = dict(header["json"])
    for name, (kind, at, count) in header["columns"].items():
        if kind == "f16":
            high, low = body[at : at + count], body[at + count : at + 2 * count]
            bits = np.frombuffer(high, np.uint8).astype(np.uint16) << 8 | np.frombuffer(low, np.uint8)
            values = bits.view(np.float16)
            found[name] = [
                None if bit == frames.NULL16 else value for bit, value in zip(bits, values, strict=True)
            ]
        else:
            assert (4 + length + at) % np.dtype(TYPES[kind]).itemsize == 0
            found[name] = np.frombuffer(body, TYPES[kind], count, at).tolist()
    return found


class Embedded(HTMLParser):
    """The elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.data: dict[str, bytes] = {}
        self._in: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in = None
        if tag == "script":
            self._in = dict(attrs).get("id") or ""

    def handle_endtag(self, tag: str) -> None:
        self._in = None

    def handle_data(self, data: str) -> None:
        if self._in:
            self.data[self._in] = base64.b64decode(data, validate=True)
        elif self._in == "":
            self.scripts.append(data)


def loaded(folder: Path, name: str = "a", *, texts: bool = True) -> RunData:
    run = RunData(name, folder, made.codec() if texts else None, "" if texts else "it is lost")
    run.refresh()
    return run


def texts_of(run: RunData) -> list[dict[str, Any]]:
    return [one for chunk in range(len(run.starts()) - 1) for one in unpack(run.texts(chunk))["rows"]]


def tokens_of(run: RunData, number: int) -> dict[str, Any]:
    """Return the tokens of a trajectory as the page gets them."""
    starts = run.starts()
    chunk = max(at for at in range(len(starts) - 1) if starts[at] <= number)
    found = unpack(run.tokens(chunk))
    begin, end = found["starts"][number - starts[chunk]], found["starts"][number - starts[chunk] + 1]
    bytes_at = np.cumsum([0, *found["said_lengths"]])
    said = bytes(found["said"])
    own: dict[str, Any] = {
        name: found[name][begin:end]
        for name in ("token", "mask", "author", "reason", "clipped", *found)
        if name in found and isinstance(found[name], list) and len(found[name]) == found["starts"][-1]
    }
    own["ids"] = [found["vocabulary"][at] for at in own["token"]]
    own["bytes"] = [said[bytes_at[at] : bytes_at[at + 1]] for at in own["token"]] if found["texts"] else None
    own["codes"], own["prompt_tokens"] = found["codes"], found["prompt_tokens"][number - starts[chunk]]
    return own


def near(values: list[Any], wanted: list[float | None]) -> bool:
    """Whether values are the float16 of others, with null where they are null."""

    def same(value: Any, other: float | None) -> bool:
        if other is None or value is None:
            return value is None and other is None
        with np.errstate(over="ignore"):
            rounded = np.float16(other)
        return bool(rounded == value or (math.isnan(rounded) and math.isnan(value)))

    return all(same(value, other) for value, other in zip(values, wanted, strict=True))
