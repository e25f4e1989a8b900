"""Compares weights: with those of a checkpoint, and by digests, which tell two policies apart."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import safe_open


def digest(named: Iterable[tuple[str, torch.Tensor]]) -> str:
    """Return 16 hex digits that depend on the names, types, shapes and every bit of tensors."""
    found = hashlib.sha256()
    for name, tensor in sorted(named, key=lambda pair: pair[0]):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.detach().cpu().flatten().contiguous().view(torch.uint8).numpy().data)
    return found.hexdigest()[:16]


def deviation(saved: Path, written: Path) -> float:
    """Return the largest difference of a weight in a checkpoint from that in another folder.

    Raises:
        ValueError: there is nothing to compare, or the weights have other names.
    """
    files = sorted(path.name for path in saved.glob("*.safetensors"))
    if not files:
        raise ValueError(f"{saved}: it has no *.safetensors to compare the weights with")
    found = 0.0
    for name in files:
        with safe_open(saved / name, "pt") as theirs, safe_open(written / name, "pt") as ours:
            if set(theirs.keys()) != set(ours.keys()):
                raise ValueError(f"{saved / name}: it has other weights than the policy")
            for key in sorted(theirs.keys()):
                a, b = theirs.get_tensor(key).flatten(), ours.get_tensor(key).flatten()
                if not torch.equal(a.view(torch.uint8), b.view(torch.uint8)):
                    largest = float((a.double() - b.double()).abs().max())
                    found = max(found, math.inf if math.isnan(largest) else largest)
    return found
