"""Captures what TRL's loss computes for each token, and hands it to the token columns of the run.

Nothing is computed a second time: logprobs and entropies are those of the loss's own forward pass. TRL
shuffles the trajectories of a rollout into micro-batches, so its inputs carry their positions (:data:`ROW`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from src.config import Config
from src.rollout.collector import Collected
from src.rollout.trajectory import Author, StopReason, Trajectory
from src.run.processes import Ranks
from src.run.records import TrajectoryRecord
from src.run.token_columns import AUTHORS, CLIPS, KEYS, REASONS, SCHEMA, TokenWriter

ROW = "trajectory"  # key in TRL's inputs: position of a trajectory in the rollout of this process, (B,)
_OF_LOSS = (
    "logprob",
    "old_logprob",
    "entropy",
    "ratio",
    "engine_weight",
)  # one per completion token, or None
_PROMPT, _POLICY, _TOOL = (AUTHORS.index(name) for name in ("prompt", "policy", "tool"))


def is_written(record: TrajectoryRecord, share: float) -> bool:
    """Whether a trajectory's tokens are among the ``share`` that is written; the same in every attempt."""
    if share >= 1:
        return True
    name = f"{record.step}/{record.problem_id}/{record.sample}"
    drawn = int.from_bytes(hashlib.sha256(name.encode("utf-8", "replace")).digest()[:8], "big")
    return drawn < share * 2**64


def clip_codes(ratio: Any, advantage: Any, cfg: Config) -> Any:
    """Return the code in :data:`~src.run.token_columns.CLIPS` of each token.

    Any but ``no`` means that the token's term of the loss is constant; TRL counts ``low`` and ``high`` in
    ``clip_ratio/region_mean``.

    Args:
        ratio: importance ratios, float32, (N,).
        advantage: float32, (N,).
        cfg: the whole configuration.
    """
    lowest, highest = 1 - cfg.trainer.clip_low, 1 + cfg.trainer.clip_high
    dual = cfg.trainer.dual_clip
    bounded = ratio if dual is None else np.minimum(ratio, np.float32(dual))
    low, high = (bounded < lowest) & (advantage < 0), (bounded > highest) & (advantage > 0)
    beyond = np.zeros_like(low) if dual is None else (ratio > dual) & ~high & (advantage != 0)
    beyond &= (advantage > 0) | (ratio > highest)
    return np.select([low, high, beyond], [CLIPS.index(name) for name in ("low", "high", "dual")], 0)


class TokenCapture:
    """Collects the tokens of a step while it is trained on; one object for all steps of a process.

    Args:
        cfg: the whole configuration.
        run_dir: the folder of the run.
        ranks: the processes.

    Attributes:
        conditions: of the update of the current step, see src/trainer/reproducibility.py.
    """

    def __init__(self, cfg: Config, run_dir: Path, ranks: Ranks) -> None:
        self._cfg, self._ranks = cfg, ranks
        self.conditions: dict[str, Any] | None = None
        self._writer = TokenWriter(run_dir, ranks)
        self._collected = self._replaced = Collected([], [])
        self._batches: list[dict[str, torch.Tensor | int | None]] = []

    def begin(self, collected: Collected, replaced: Collected) -> None:
        """Begin a step.

        Args:
            collected: the trajectories that are trained on, in the order of TRL's rows.
            replaced: those that dynamic sampling has replaced.
        """
        self._collected, self._replaced, self._batches = collected, replaced, []

    def add(
        self, inputs: dict[str, Any], logprobs: torch.Tensor, entropies: torch.Tensor, optimizer_step: int
    ) -> None:
        """Note a micro-batch; its tensors stay on their device until the step is written.

        Args:
            inputs: of TRL's loss.
            logprobs: of the completion tokens in the forward pass of the loss, (B, C).
            entropies: likewise.
            optimizer_step: finished optimizer steps.
        """
        old, mask = inputs.get("old_per_token_logps"), inputs["completion_mask"]
        self._batches.append(
            {
                "rows": inputs[ROW],
                "optimizer_step": optimizer_step,
                "advantage": inputs["advantages"],
                **{name: inputs[name] for name in ("prompt_ids", "prompt_mask", "completion_ids")},
                "completion_mask": mask,
                "loss_mask": mask * inputs["tool_mask"] if "tool_mask" in inputs else mask,
                "logprob": logprobs,
                "old_logprob": old,
                "entropy": entropies,
                "ratio": torch.exp(logprobs - (logprobs if old is None else old)),
                "engine_weight": inputs.get("importance_sampling_ratio"),
            }
        )

    def write(self) -> None:
        """Write the tokens of the step; collective."""
        first = self._collected.records[0]
        table = pa.concat_tables([self._trained(), self._untrained()])
        self._writer.write(table, first.step, first.attempt, self.conditions)
        self.begin(Collected([], []), Collected([], []))

    def _trained(self) -> pa.Table:
        """Return the trajectories that were trained on, in the order of the rollout."""
        cfg, records = self._cfg, self._collected.records
        written = self._written(records)
        parts = [_flat(number, batch, written) for number, batch in enumerate(self._batches)]
        got = {name: _joined([part[name] for part in parts]) for name in parts[0]}
        rows, lengths, mask, prompt = (got[name] for name in ("row", "lengths", "mask", "is_prompt"))
        said = _Said.of([self._collected.trajectories[row] for row in rows])
        if not (np.array_equal(lengths, said.lengths) and np.array_equal(got["token_ids"], said.ids)):
            raise ValueError("TRL trained on other tokens than those of the trajectories")
        clipped = np.where(mask, clip_codes(got["ratio"], np.repeat(got["advantage"], lengths), cfg), 0)
        columns = {
            **_keys([records[row] for row in rows]),
            "group": [records[row].group for row in rows],
            "policy_version": [records[row].step * cfg.trainer.minibatches for row in rows],
            "process": np.full(len(rows), self._ranks.rank),
            **{name: got[name] for name in ("optimizer_step", "micro_batch", "place", "advantage")},
            **said.columns(),
            "mask": _lists(lengths, pa.array(mask)),
            "reason": _codes(lengths, np.where(mask, 0, said.reasons(self._why_not)), REASONS),
            "clipped": _codes(lengths, clipped, CLIPS, prompt),
        }
        for name in _OF_LOSS:
            if got[name] is not None:
                columns[name] = _lists(lengths, pa.array(got[name], pa.float32(), mask=prompt))
        return _table(columns, len(rows)).take(pa.array(np.argsort(rows)))

    def _untrained(self) -> pa.Table:
        """Return the trajectories that dynamic sampling has replaced."""
        kept = np.flatnonzero(self._written(self._replaced.records))
        records = [self._replaced.records[index] for index in kept]
        said = _Said.of([self._replaced.trajectories[index] for index in kept])
        columns = {
            **_keys(records),
            "policy_version": [record.step * self._cfg.trainer.minibatches for record in records],
            "process": np.full(len(records), self._ranks.rank),
            **said.columns(),
            "mask": _lists(said.lengths, pa.array(np.zeros(len(said.ids), bool))),
            "reason": _codes(said.lengths, said.reasons(lambda _: "replaced"), REASONS),
        }
        return _table(columns, len(records))

    def _written(self, records: Sequence[TrajectoryRecord]) -> Any:
        return np.array([is_written(one, self._cfg.records.token_share) for one in records], bool)

    def _why_not(self, trajectory: Trajectory) -> str:
        """Return why the tokens of a trajectory that the policy sampled are masked, where they are."""
        return "infrastructure" if trajectory.stop_reason is StopReason.INFRASTRUCTURE else "excluded"


@dataclass(frozen=True)
class _Said:
    """What trajectories say of their own tokens, prompts included, one after the other.

    Attributes:
        trajectories: the trajectories.
        lengths: tokens of each, (N,).
        prompts: tokens of each prompt, (N,).
        ids: token ids, (sum of lengths,).
        authors: codes in AUTHORS, likewise.
    """

    trajectories: Sequence[Trajectory]
    lengths: Any
    prompts: Any
    ids: Any
    authors: Any

    @classmethod
    def of(cls, trajectories: Sequence[Trajectory]) -> _Said:
        """Return what ``trajectories`` say."""
        ids: list[list[int]] = []
        authors: list[int] = []
        for one in trajectories:
            ids += [one.task.prompt_ids, *(segment.token_ids for segment in one.segments)]
            authors += [_PROMPT, *(_POLICY if s.author is Author.POLICY else _TOOL for s in one.segments)]
        return cls(
            trajectories,
            np.array([len(t.task.prompt_ids) + len(t.completion_ids) for t in trajectories], int),
            np.array([len(one.task.prompt_ids) for one in trajectories], int),
            np.concatenate([np.array(part, np.int32) for part in ids] or [np.zeros(0, np.int32)]),
            np.repeat(np.array(authors, int), [len(part) for part in ids]),
        )

    def columns(self) -> dict[str, Any]:
        """Return the columns that do not depend on the loss."""
        return {
            "prompt_tokens": self.prompts,
            "token_ids": _lists(self.lengths, pa.array(self.ids)),
            "author": _codes(self.lengths, self.authors, AUTHORS),
            "sampled_logprob": self._logprobs(),
        }

    def reasons(self, why_not: Any) -> Any:
        """Return the code in REASONS of each token, if it is not trained on.

        Args:
            why_not: the reason of a trajectory's sampled tokens.
        """
        codes = np.array([REASONS.index(why_not(one)) for one in self.trajectories], int)
        others = [REASONS.index(name) for name in ("prompt", "feedback")]
        return np.select(
            [self.authors == _PROMPT, self.authors == _TOOL], others, np.repeat(codes, self.lengths)
        )

    def _logprobs(self) -> pa.Array:
        """Return the logprobs in the engine: null for a trajectory without, and where nothing was sampled."""
        given = [one.logprobs for one in self.trajectories]
        missing = np.array([one is None for one in given], bool)
        lengths = np.where(missing, 0, self.lengths)
        sampled = self.authors[np.repeat(~missing, self.lengths)] == _POLICY
        flat = np.zeros(len(sampled), np.float32)
        completion = self.authors[np.repeat(~missing, self.lengths)] != _PROMPT
        flat[completion] = [value for one in given if one is not None for value in one]
        return _lists(lengths, pa.array(flat, mask=~sampled), missing)


def _flat(number: int, batch: Mapping[str, Any], written: Any) -> dict[str, Any]:
    """Return the written rows of a micro-batch, their tokens one after the other, without padding."""
    arrays = {name: _array(value) for name, value in batch.items()}
    rows = arrays["rows"]
    keep = written[rows]
    prompt, completion = arrays["prompt_mask"][keep] > 0, arrays["completion_mask"][keep] > 0
    real = np.concatenate([prompt, completion], axis=1)

    def tokens(of_prompt: Any, of_completion: Any) -> Any:
        """Join (N, P) and (N, C) row by row; each may be of one column or a number."""
        parts = np.broadcast_to(of_prompt, prompt.shape), np.broadcast_to(of_completion, completion.shape)
        return np.concatenate(parts, axis=1)[real]

    return {
        "row": rows[keep],
        "optimizer_step": np.full(int(keep.sum()), batch["optimizer_step"]),
        "micro_batch": np.full(int(keep.sum()), number),
        "place": np.flatnonzero(keep),
        "advantage": arrays["advantage"][keep].astype(np.float32),
        "lengths": real.sum(axis=1),
        "is_prompt": tokens(True, False),
        "token_ids": tokens(arrays["prompt_ids"][keep], arrays["completion_ids"][keep]),
        "mask": tokens(False, arrays["loss_mask"][keep] > 0),
        **{
            name: None if arrays[name] is None else tokens(np.float32(0), arrays[name][keep])
            for name in _OF_LOSS
        },
    }


def _array(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    value = value.detach()
    return (value.float() if value.is_floating_point() else value).cpu().numpy()


def _joined(parts: Sequence[Any]) -> Any:
    return None if parts[0] is None else np.concatenate(parts)


def _keys(records: Sequence[TrajectoryRecord]) -> dict[str, list[Any]]:
    return {name: [getattr(record, name) for record in records] for name in KEYS}


def _lists(lengths: Any, values: pa.Array, missing: Any = None) -> pa.Array:
    """Return consecutive ``values`` as lists of ``lengths``; those that are ``missing`` are null."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, values, mask=None if missing is None else pa.array(missing))


def _codes(lengths: Any, codes: Any, names: Sequence[str], missing: Any = None) -> pa.Array:
    values = pa.array(codes.astype(np.int8), mask=missing)
    return _lists(lengths, pa.DictionaryArray.from_arrays(values, pa.array(names)))


def _table(columns: Mapping[str, Any], rows: int) -> pa.Table:
    """Return ``columns`` as the schema has them; what is not given is null."""
    return pa.table(
        [
            _typed(columns[field.name], field.type) if field.name in columns else pa.nulls(rows, field.type)
            for field in SCHEMA
        ],
        schema=SCHEMA,
    )


def _typed(values: Any, kind: pa.DataType) -> pa.Array:
    return values if isinstance(values, pa.Array) else pa.array(values, kind)
