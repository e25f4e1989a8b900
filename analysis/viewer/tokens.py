"""The token columns of some trajectories as a frame, and what the list shows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from analysis.viewer import frames
from src.run.records import TrajectoryRecord
from src.run.token_columns import AUTHORS, CLIPS, REASONS, read_tokens

if TYPE_CHECKING:
    from src.policy.codec import TokenCodec

FLOATS = ("sampled_logprob", "logprob", "old_logprob", "entropy", "ratio", "engine_weight")
DIGEST = ("advantage", "policy_version", "entropy", "lowest_logprob", "difference", "clipped")
SURPRISING = 10  # tokens of a step that are listed
_CODES = {"author": AUTHORS, "reason": REASONS, "clipped": CLIPS}
_NONE = 255  # no code: null
_KEYS = ("phase", "mode", "step", "attempt", "problem_id", "sample")
Key = tuple[Any, ...]


def key(record: TrajectoryRecord) -> Key:
    """Return what a record and its row of the token columns have in common."""
    return tuple(getattr(record, name) for name in _KEYS)


@dataclass(frozen=True)
class Column:
    """Numbers of tokens, and which of them are null."""

    values: np.ndarray  # float32
    null: np.ndarray


class TrajectoryTokens:
    """The token columns of a trajectory as arrays.

    Args:
        scalars: the values of its row that are not lists, see src/run/token_columns.py.
        lists: the others; None: a null list.
    """

    def __init__(self, scalars: Mapping[str, Any], lists: Mapping[str, Column | None]) -> None:
        ids, mask = lists["token_ids"], lists["mask"]
        assert ids is not None
        assert mask is not None
        self.ids, self.mask = ids.values, mask.values.astype(bool)
        self.prompt_tokens: int = scalars["prompt_tokens"]
        self.policy_version: int | None = scalars["policy_version"]
        self.advantage: float | None = scalars["advantage"]
        none = Column(np.full(len(self.ids), np.nan, np.float32), np.ones(len(self.ids), bool))
        self.codes = {name: _coded(lists[name], len(self.ids)) for name in _CODES}
        self.floats = {name: lists[name] or none for name in FLOATS}
        # None of the following is a value of tokens outside the loss.
        outside = ~self.mask
        before = self.floats["logprob" if lists["old_logprob"] is None else "old_logprob"]
        engine = self.floats["sampled_logprob"]
        self.floats["difference"] = Column(before.values - engine.values, before.null | engine.null | outside)
        advantage = np.nan if self.advantage is None else self.advantage
        self.floats["advantage"] = Column(
            np.full(len(self.ids), advantage, np.float32), outside | (self.advantage is None)
        )

    def trained(self, name: str) -> np.ndarray:
        """Return the values of the tokens in the loss, without null."""
        column = self.floats[name]
        return column.values[self.mask & ~column.null]

    def digest(self) -> dict[str, float | int | None]:
        """Return :data:`DIGEST`: what the list shows; None where there is nothing to say."""
        known = self.codes["clipped"][self.mask]
        lowest = self.trained("logprob")
        return {
            "advantage": self.advantage,
            "policy_version": self.policy_version,
            "entropy": _mean(self.trained("entropy")),
            "lowest_logprob": float(lowest.min()) if len(lowest) else None,
            "difference": _mean(np.abs(self.trained("difference"))),
            "clipped": int(np.isin(known, (1, 2, 3)).sum()) if (known != _NONE).any() else None,
        }


class StepTokens:
    """The token columns of a rollout step, found by trajectory.

    Args:
        run_dir: the folder of the run.
        step: the step; src.run.token_columns.token_files says which there are.
    """

    def __init__(self, run_dir: Path, step: int) -> None:
        table = read_tokens(run_dir, step)
        self._scalars = table.select("prompt_tokens", "policy_version", "advantage").to_dicts()
        self._lists = {name: _flat(table[name]) for name in ("token_ids", "mask", *_CODES, *FLOATS)}
        self._places: dict[Key, list[int]] = {}
        for place, found in enumerate(table.select(_KEYS).iter_rows()):
            self._places.setdefault(found, []).append(place)

    def of(self, key: Key, number: int) -> TrajectoryTokens | None:
        """Return the tokens of a trajectory, the ``number``-th with its key; None: it has none."""
        places = self._places.get(key, [])
        if number >= len(places):
            return None
        place = places[number]
        lists = {
            name: None
            if null[place]
            else Column(*(part[starts[place] : starts[place + 1]] for part in (flat.values, flat.null)))
            for name, (flat, starts, null) in self._lists.items()
        }
        return TrajectoryTokens(self._scalars[place], lists)


def _flat(lists: pl.Series) -> tuple[Column, np.ndarray, np.ndarray]:
    """Return all values of a column of lists, where each list starts, and which lists are null."""
    starts = np.cumsum([0, *lists.list.len().fill_null(0).to_list()])
    # exploding gives a null for an empty list, too
    values = lists.filter(lists.list.len() > 0).explode()
    null = values.is_null().to_numpy()
    if isinstance(values.dtype, pl.Enum):
        values = values.to_physical().fill_null(_NONE)
    return Column(values.to_numpy(), null), starts, lists.is_null().to_numpy()


def surprising(rows: Mapping[int, TrajectoryTokens]) -> list[dict[str, Any]]:
    """Return the tokens with the lowest logprobs among those in the loss.

    Args:
        rows: number of a trajectory -> its token columns.
    """
    found = []
    for number, row in rows.items():
        column = row.floats["logprob"]
        (places,) = np.nonzero(row.mask & ~column.null & ~np.isnan(column.values))
        for place in places[np.argsort(column.values[places], kind="stable")[:SURPRISING]].tolist():
            found.append((float(column.values[place]), number, place))
    return [
        {"row": number, "at": place, "logprob": logprob, "id": int(rows[number].ids[place])}
        for logprob, number, place in sorted(found)[:SURPRISING]
    ]


def tokens_frame(rows: Sequence[TrajectoryTokens | None], codec: TokenCodec | None) -> bytes:
    """Return a frame of the tokens of some trajectories, one after the other; None: it has none.

    Its vocabulary has the bytes of each token that are part of the text (``said``) and the names of tokens
    without text. Without a codec it has ids only.
    """
    there = [row for row in rows if row is not None]
    used, token = np.unique(_joined([row.ids for row in there], np.int32), return_inverse=True)
    said = [] if codec is None else codec.pieces(used.tolist())
    silent = {
        str(number): codec.bytes_of(int(used[number])).decode("utf-8", "replace")
        for number, data in enumerate(said)
        if codec is not None and not data
    }
    columns = {
        "starts": np.cumsum([0, *(0 if row is None else len(row.ids) for row in rows)], dtype=np.uint32),
        "prompt_tokens": np.array([0 if row is None else row.prompt_tokens for row in rows], np.uint32),
        "vocabulary": used.astype(np.int32),
        "said": np.frombuffer(b"".join(said), np.uint8),
        "said_lengths": np.array([len(one) for one in said], np.uint16),
        "token": token.astype(np.uint16 if len(used) < 65536 else np.uint32),
        "mask": _joined([row.mask for row in there], np.uint8),
    }
    columns |= {name: _joined([row.codes[name] for row in there], np.uint8) for name in _CODES}
    for name in (*FLOATS, "difference", "advantage"):
        null = _joined([row.floats[name].null for row in there], bool)
        if not null.all() or name != "old_logprob":
            columns[name] = frames.half(_joined([row.floats[name].values for row in there], np.float32), null)
    return frames.frame({"codes": _CODES, "silent": silent, "texts": codec is not None}, columns)


def _coded(column: Column | None, length: int) -> np.ndarray:
    if column is None:
        return np.full(length, _NONE, np.uint8)
    return np.where(column.null, _NONE, column.values).astype(np.uint8)


def _joined(parts: Sequence[np.ndarray], kind: Any) -> np.ndarray:
    return np.concatenate([np.empty(0, kind), *parts]).astype(kind)


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean(dtype=np.float64)) if len(values) else None
