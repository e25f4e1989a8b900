"""The order of problems in batches, and the removal of padding from micro-batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from trl.trainer.utils import RepeatSampler


class MultiEpochSampler(RepeatSampler):
    """TRL's RepeatSampler over several epochs, each shuffled differently, as a single epoch.

    Args:
        epochs: number of epochs.
        options: see RepeatSampler.
    """

    def __init__(self, epochs: int, **options: Any) -> None:
        super().__init__(**options)
        self._epochs = epochs

    def __iter__(self) -> Iterator[int]:
        self.generator.manual_seed(self.seed)
        for _ in range(self._epochs):
            yield from super().__iter__()

    def __len__(self) -> int:
        """Return the number of indices, including repetitions."""
        return self._epochs * super().__len__()


def trim(inputs: dict[str, Any]) -> dict[str, Any]:
    """Return a micro-batch without the columns that are padding in every row.

    TRL pads to the longest trajectory of the whole rollout, but most micro-batches are much shorter.
    The loss does not change, since padding is masked and rotary positions are relative.

    Args:
        inputs: the inputs of TRL's loss; prompt tensors are (B, P), padded on the left, and completion
            tensors are (B, C), padded on the right.
    """
    prompt = int(inputs["prompt_mask"].sum(dim=1).max())
    width = inputs["completion_mask"].shape[1]
    completion = max(1, int(inputs["completion_mask"].sum(dim=1).max()))
    trimmed = dict(inputs)
    for name, value in inputs.items():
        if name in ("prompt_ids", "prompt_mask"):
            trimmed[name] = value[:, value.shape[1] - prompt :]
        elif isinstance(value, torch.Tensor) and value.dim() == 2 and value.shape[1] == width:
            trimmed[name] = value[:, :completion]
    return trimmed
