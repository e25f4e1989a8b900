"""Writes what a replay has found into its folder: replay.json and signs.csv."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from src.config import Config
from src.replay.comparison import Comparison, Products, mean_losses, whole
from src.replay.replay import Result
from src.run import provenance
from src.run.disk import write_json
from src.run.token_columns import read_tokens

REPLAY, SIGNS = "replay.json", "signs.csv"
WHOLE = "all"
KINDS = ("same", "opposite", "only the run", "only the other", "neither")


def write(
    out: Path, cfg: Config, run: Path, step: int, result: Result, changed: Mapping[str, Sequence[Any]]
) -> dict[str, Any]:
    """Write the files, and return the contents of replay.json.

    Args:
        out: folder of the replay.
        cfg: settings of the run.
        run: its folder.
        step: the rollout step.
        result: of the replay.
        changed: settings of the other objective that differ: dotted name -> (of the run, other).
    """
    found: dict[str, Any] = {
        "settings": provenance.settings(cfg) | {"run": str(run), "step": step},
        "start": str(result.start) if result.start else None,
        "steps": [
            {
                "step": one.step,
                "equal": one.equal,
                "deviation": one.deviation,
                "metrics": {name: list(pair) for name, pair in one.metrics.items()},
                "columns": one.columns,
                "weights": result.weights[one.step],
            }
            for one in result.steps
        ],
        "checkpoints": {str(done): deviation for done, deviation in result.checkpoints.items()},
        "objective": None,
    }
    if result.comparison is not None:
        layers = layer_rows(result.comparison)
        rows = read_tokens(run, step).drop_nulls("group").to_dicts()
        signs, counts = sign_rows(result.comparison, rows, result.tokenizer)
        _write_rows(out / SIGNS, signs)
        found["objective"] = {
            "changed": {name: list(pair) for name, pair in changed.items()},
            "loss": list(mean_losses(result.comparison.steps)),
            "layers": layers,
            "signs": counts,
        }
    write_json(out / REPLAY, found)
    return found


def layer_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Return cosines and norms of gradients and updates: a row per optimizer step and group of layers."""
    found = []
    for number, one in enumerate(comparison.steps):
        for name in (WHOLE, *one.gradient):
            gradient, update = (
                whole(products) if name == WHOLE else products.get(name, Products())
                for products in (one.gradient, one.update)
            )
            row: dict[str, Any] = {"optimizer_step": number, "layer": name}
            for what, products in (("gradient", gradient), ("update", update)):
                row |= {f"{what}_cosine": products.cosine}
                row |= {f"{what}_norm": products.norms[0], f"{what}_norm_other": products.norms[1]}
            found.append(row)
    return found


def sign_rows(
    comparison: Comparison, rows: Sequence[Mapping[str, Any]], tokenizer: Any
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Return the tokens whose weight in the loss has another sign, and the number of tokens of each kind.

    A weight is minus the derivative of the loss by the token's logprob: above 0, the token is made more
    likely; 0, nothing is made of it.

    Args:
        comparison: of two objectives.
        rows: token columns of the step, in the order of the rollout.
        tokenizer: of the policy.
    """
    found, counts = [], dict.fromkeys(KINDS, 0)
    for number, one in enumerate(comparison.steps):
        for ours, theirs in one.batches:
            real = ours.real.cpu().numpy()
            weights = [batch.weights.float().cpu().numpy() for batch in (ours, theirs)]
            a, b = (np.sign(weight) for weight in weights)
            kinds = np.select([(a == 0) & (b == 0), a == b, a == 0, b == 0], [4, 0, 3, 2], 1)
            for kind, name in enumerate(KINDS):
                counts[name] += int((real & (kinds == kind)).sum())
            for place, at in np.argwhere(real & (kinds != 0) & (kinds != 4)):
                row = rows[int(ours.rows[place])]
                position = row["prompt_tokens"] + int(at)
                token = row["token_ids"][position]
                found.append(
                    {
                        "optimizer_step": number,
                        **{name: row[name] for name in ("group", "problem_id", "sample")},
                        "position": position,
                        "token_id": token,
                        "token": tokenizer.decode([token]),
                        "kind": KINDS[kinds[place, at]],
                        "weight": float(weights[0][place, at]),
                        "weight_other": float(weights[1][place, at]),
                    }
                )
    order = ("optimizer_step", "group", "sample", "position")
    return sorted(found, key=lambda row: [row[name] for name in order]), counts


def _write_rows(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    partial = file.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8", errors="replace") as opened:
        if rows:
            writer = csv.DictWriter(opened, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    partial.replace(file)
