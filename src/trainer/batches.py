"""The order of problems in batches, and micro-batches with little padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from trl.trainer.utils import RepeatSampler

Inputs = dict[str, Any]  # of TRL's loss


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


def by_length(micro_batches: Sequence[Inputs], *, grouped: bool = False) -> list[Inputs]:
    """Return the micro-batches of an optimizer step with rows of similar lengths, to have little padding.

    The gradient is that of the same rows in any order, except for ``loss_type=bnpo``, which divides by the
    tokens of each micro-batch.

    Args:
        micro_batches: the inputs of TRL's loss.
        grouped: rows with the same prompt stay together, and the length of the longest counts.
    """
    rows = len(micro_batches[0]["advantages"])
    joined = {
        name: torch.cat([one[name] for one in micro_batches])
        for name, value in micro_batches[0].items()
        if isinstance(value, torch.Tensor) and value.dim() and len(value) == rows
    }
    lengths = joined["prompt_mask"].sum(dim=1) + joined["completion_mask"].sum(dim=1)
    order = lengths.argsort(stable=True)
    if grouped:
        prompt = joined["prompt_ids"].unique(dim=0, return_inverse=True)[1]
        longest = torch.zeros_like(lengths).scatter_reduce(0, prompt, lengths, "amax")
        by_prompt = prompt.argsort(stable=True)
        order = by_prompt[longest[prompt[by_prompt]].argsort(stable=True)]
    return [
        one | {name: value[part] for name, value in joined.items()}
        for one, part in zip(micro_batches, order.split(rows), strict=True)
    ]


def without_zero_advantage(inputs: Inputs) -> Inputs:
    """Return a micro-batch in which trajectories with an advantage of 0 have two tokens and no loss.

    Their gradient is 0 where the loss has neither a KL nor an entropy term. A prompt and a completion token
    stay, so that no row is only padding.
    """
    skipped = inputs["advantages"] == 0
    found = dict(inputs)
    for name, kept in (("prompt_mask", -1), ("completion_mask", 0)):
        one = torch.zeros_like(inputs[name])
        one[:, kept] = 1
        found[name] = torch.where(skipped[:, None], one, inputs[name])
    counted = inputs.get("tool_mask", torch.ones_like(inputs["completion_mask"]))
    found["tool_mask"] = torch.where(skipped[:, None], 0, counted)
    return found


def loss_tokens(inputs: Inputs) -> torch.Tensor:
    """Return the number of tokens that count in the loss of a micro-batch."""
    mask = inputs["completion_mask"]
    return (mask * inputs["tool_mask"] if "tool_mask" in inputs else mask).sum()
