"""The forward pass of scoring and loss, without padding, repeated prompts and logits that nobody needs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import PreTrainedConfig
from trl.trainer import utils

from src.config.schema import ConfigError, show

_PER_TOKEN = ("log_probs", "entropy")


@contextlib.contextmanager
def only_labels() -> Iterator[None]:
    """Inside this context, a model with TRL's fused LM head scores only positions with a label.

    TRL 1.16 does so by itself, but on devices without Triton it computes logits for prompts and padding, too.
    What that costs with a vocabulary of 49,152 entries: experiments/performance/update.
    """
    original = utils._use_triton
    utils._use_triton = lambda device: True  # in this module it only decides on compaction
    try:
        yield
    finally:
        utils._use_triton = original


class Scorer:
    """A model as TRL calls it to score a micro-batch.

    Args:
        model: with a fused LM head, see ``trl.trainer.utils.add_fused_lm_head``, or another Scorer.
    """

    def __init__(self, model: Any) -> None:
        self._model = model

    def __call__(
        self, *, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor, **options: Any
    ) -> Any:
        """Return the model's output: ``log_probs`` and ``entropy`` end with those of completions, (B, C).

        Args:
            input_ids: prompts, padded on the left, and completions, padded on the right, (B, P + C).
            attention_mask: likewise.
            labels: likewise; -100 in prompts and padding.
            options: for the model.
        """
        return self._model(input_ids=input_ids, attention_mask=attention_mask, labels=labels, **options)


class WithoutPadding(Scorer):
    """Leaves out the columns that are padding in every row.

    TRL pads to the longest trajectory of the whole rollout, but most micro-batches are much shorter. Nothing
    changes, since padding is masked and rotary positions are relative.
    """

    def __call__(
        self, *, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor, **options: Any
    ) -> Any:
        """See Scorer; where columns on the right were left out there are zeros."""
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


class SharesPrompts(Scorer):
    """Computes the keys and values of equal prompts once; each of their completions attends to them."""

    def __call__(
        self, *, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor, **options: Any
    ) -> Any:
        """See Scorer."""
        # a prompt's last token predicts the first of each completion, so it comes with them
        shared = int((labels != -100).any(dim=0).nonzero()[0]) - 1
        whole = {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}
        if shared < 1:
            return self._model(**whole, **options)
        prompts = torch.where(attention_mask.bool(), input_ids, -1)[:, :shared]
        different, row_prompt = prompts.unique(dim=0, return_inverse=True)
        if len(different) == len(prompts):
            return self._model(**whole, **options)
        first = torch.stack([(row_prompt == index).nonzero()[0, 0] for index in range(len(different))])
        cache = self._model(
            input_ids=input_ids[first, :shared],
            attention_mask=attention_mask[first, :shared],
            use_cache=True,
            logits_to_keep=1,
        ).past_key_values
        cache.batch_select_indices(row_prompt)
        return self._model(
            input_ids=input_ids[:, shared:],
            attention_mask=attention_mask,
            labels=labels[:, shared:],
            past_key_values=cache,
            **options,
        )


def refuse_other_caches(config: PreTrainedConfig) -> None:
    """Raise ConfigError unless all layers of a model have full attention, whose cache can be shared."""
    text = config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ["full_attention"])
    if getattr(text, "sliding_window", None) and getattr(text, "use_sliding_window", True):
        kinds.add("sliding_attention")
    if kinds != {"full_attention"}:
        raise ConfigError(
            f"trainer.share_prompts=true: {config.model_type} has layers of kinds {show(sorted(kinds))}, and "
            "only full_attention is supported; leave it false"
        )
