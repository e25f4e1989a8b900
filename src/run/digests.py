"""Digests of weights, by which two policies can be told apart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def digest(named: Iterable[tuple[str, torch.Tensor]]) -> str:
    """Return 16 hex digits that depend on the names, types, shapes and every bit of tensors."""
    import torch

    found = hashlib.sha256()
    for name, tensor in sorted(named, key=lambda pair: pair[0]):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.detach().cpu().flatten().contiguous().view(torch.uint8).numpy().data)
    return found.hexdigest()[:16]
