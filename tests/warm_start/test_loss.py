"""The loss of a warm start from a given model."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import Gemma2Config, Gemma2ForCausalLM

from src.config import ModelConfig
from src.policy.loading import load_model
from src.warm_start.corpus import Batch, Example, padded
from src.warm_start.loss import has_plain_head, summed_loss


class TestLoss:
    def batch(self) -> Batch:
        examples = [Example(list(range(5, 5 + n)), [0, 0, *[1] * (n - 4), 0, 1]) for n in (9, 14, 6)]
        return padded(examples, 2, 10.0)

    @pytest.mark.parametrize("head_tokens", [1, 4, 1000])
    def test_it_and_its_gradient_are_those_of_all_logits(self, model_path: str, head_tokens: int) -> None:
        batch = self.batch()
        expected, model = load_model(ModelConfig(path=model_path)), load_model(ModelConfig(path=model_path))
        logits = expected(input_ids=batch.ids, attention_mask=batch.attention).logits[:, :-1]
        whole = cross_entropy(logits.flatten(0, 1), batch.labels[:, 1:].flatten(), reduction="sum")
        loss = summed_loss(model, batch, head_tokens)
        assert loss.item() == pytest.approx(whole.item(), rel=1e-5)
        whole.backward()
        loss.backward()
        for one, other in zip(model.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-5)

    def test_no_logits_of_other_tokens_are_computed(self, model_path: str) -> None:
        model = load_model(ModelConfig(path=model_path))
        rows: list[int] = []
        model.get_output_embeddings().register_forward_hook(lambda _, args, __: rows.append(len(args[0])))
        batch = self.batch()
        summed_loss(model, batch, 4)
        assert sum(rows) == int((batch.labels[:, 1:] != -100).sum())
        assert max(rows) == 4

    def test_heads_that_are_scaled_or_capped_are_found(self, model_path: str) -> None:
        assert has_plain_head(load_model(ModelConfig(path=model_path)), self.batch())
        sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "head_dim": 8}
        capped = Gemma2ForCausalLM(
            Gemma2Config(
                vocab_size=64,
                **sizes,
                num_attention_heads=2,
                num_key_value_heads=1,
                final_logit_softcapping=0.01,
                pad_token_id=0,
            )
        )
        assert not has_plain_head(capped.eval(), self.batch())
