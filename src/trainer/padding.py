"""Leaves out the columns of a micro-batch that are padding in every row."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import pad

_PER_TOKEN = ("log_probs", "entropy")


class WithoutPadding:
    """A model to which TRL gives micro-batches; called in its place.

    TRL pads to the longest trajectory of the whole rollout, but most micro-batches are much shorter. Logprobs
    and gradients do not change, since padding is masked and rotary positions are relative.

    Args:
        model: with a fused LM head, see ``trl.trainer.utils.add_fused_lm_head``.
    """

    def __init__(self, model: Any) -> None:
        self._model = model

    def __call__(
        self, *, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor, **options: Any
    ) -> Any:
        """Return the model's output, with zeros where columns on the right were left out.

        Args:
            input_ids: prompts, padded on the left, and completions, padded on the right, (B, P + C).
            attention_mask: likewise.
            labels: likewise.
            options: for the model.
        """
        real = attention_mask.any(dim=0).nonzero()
        columns = slice(int(real[0]), int(real[-1]) + 1)
        output = self._model(
            input_ids=input_ids[:, columns],
            attention_mask=attention_mask[:, columns],
            labels=labels[:, columns],
            **options,
        )
        left_out = input_ids.shape[1] - columns.stop
        for name in _PER_TOKEN:
            if getattr(output, name) is not None:
                setattr(output, name, pad(getattr(output, name), (0, left_out)))
        return output
