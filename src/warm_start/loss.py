"""Cross entropy of the tokens that are learnt, with logits of these alone."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from src.warm_start.corpus import Batch


def summed_loss(model: PreTrainedModel, batch: Batch, head_tokens: int) -> torch.Tensor:
    """Return the sum over the unmasked tokens of a batch, in nats.

    The output head is applied to the positions before them, ``head_tokens`` at a time, and again in the
    backward pass, so that no more logits are held: those of all tokens would be most of the memory.

    Args:
        model: its logits are those of its output embeddings, see :func:`has_plain_head`.
        batch: on the device of the model.
        head_tokens: positions at a time.
    """
    hidden = model.base_model(input_ids=batch.ids, attention_mask=batch.attention).last_hidden_state
    labels = batch.labels[:, 1:]
    learnt = labels != -100
    parts = zip(
        hidden[:, :-1][learnt].split(head_tokens), labels[learnt].split(head_tokens), strict=True
    )  # (n, width), (n,)
    total = torch.zeros((), device=hidden.device)
    for states, targets in parts:
        total = total + checkpoint(_of_part, model, states, targets, use_reentrant=False)
    return total


def _of_part(model: PreTrainedModel, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return cross_entropy(model.get_output_embeddings()(states).float(), targets, reduction="sum")


@torch.no_grad()
def has_plain_head(model: PreTrainedModel, batch: Batch) -> bool:
    """Whether the logits are the output head of the last hidden state; some models scale or cap them."""
    ids, attention = batch.ids[:1], batch.attention[:1]
    hidden = model.base_model(input_ids=ids, attention_mask=attention).last_hidden_state
    theirs = model(input_ids=ids, attention_mask=attention).logits
    return bool(torch.allclose(model.get_output_embeddings()(hidden).float(), theirs.float(), atol=1e-3))
