"""Columns that are padding in every row are not computed, and nothing else changes."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel
from trl.trainer.utils import add_fused_lm_head

from src.trainer.padding import WithoutPadding
from src.trainer.shared_prompts import SharesPrompts
from tests import tiny
from tests.trainer.test_shared_prompts import COMPLETIONS, Spy, batch


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    model = tiny.model()
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    return model


@pytest.mark.parametrize("share", [False, True])
def test_values_and_gradients_stay(model: PreTrainedModel, share: bool) -> None:
    given, columns = batch(COMPLETIONS)
    wide = {
        name: torch.nn.functional.pad(value, (7, 9), value=-100 if name == "labels" else 0)
        for name, value in given.items()
    }
    spy, found = Spy(model), []
    scorer = WithoutPadding(SharesPrompts(spy) if share else spy)
    for one, rows, width in ((model, given, columns), (scorer, wide, columns + 9)):
        model.zero_grad()
        output = one(**rows, fused_lm_head=True)
        assert not output.log_probs[:, -width:][:, columns:].any()
        values = [of[:, -width:][:, :columns] for of in (output.log_probs, output.entropy)]
        (values[0] * torch.arange(1.0, columns + 1)).sum().backward()
        found.append((*values, *(p.grad.clone() for p in model.parameters())))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert all(columns_seen < wide["input_ids"].shape[1] - 15 for _, columns_seen in spy.shapes)


def test_without_entropy(model: PreTrainedModel) -> None:
    plain = tiny.model()
    add_fused_lm_head(plain)
    given, _ = batch(COMPLETIONS)
    assert WithoutPadding(plain)(**given, fused_lm_head=True).entropy is None
