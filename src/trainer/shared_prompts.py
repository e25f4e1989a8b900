"""Computes each prompt of a micro-batch once, however many of its trajectories have it."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedConfig

from src.config.schema import ConfigError, show


def refuse_other_caches(config: PreTrainedConfig) -> None:
    """Raise ConfigError unless all layers of a model have full attention, whose cache can be shared."""
    kinds = set(getattr(config.get_text_config(), "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"}:
        raise ConfigError(
            f"trainer.share_prompts=true: {config.model_type} has layers of kinds {show(sorted(kinds))}, and "
            "only full_attention is supported; leave it false"
        )


class SharesPrompts:
    """A model to which TRL gives micro-batches; called in its place.

    The keys and values of a prompt are computed once, and each of its completions attends to them. Logprobs
    and gradients are those of whole rows.

    Args:
        model: with a fused LM head, see ``trl.trainer.utils.add_fused_lm_head``.
    """

    def __init__(self, model: Any) -> None:
        self._model = model

    def __call__(
        self, *, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor, **options: Any
    ) -> Any:
        """Return the model's output for at least the completions: ``log_probs`` ends with (B, C).

        Args:
            input_ids: prompts, padded on the left, and completions, (B, P + C).
            attention_mask: likewise.
            labels: likewise; -100 in all of the prompts.
            options: for the model.
        """
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
