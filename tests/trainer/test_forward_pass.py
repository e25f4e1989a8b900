"""What the forward pass leaves out changes neither values nor gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, Qwen3Config
from trl.trainer.utils import add_fused_lm_head

from src.config.schema import ConfigError
from src.trainer.forward_pass import SharesPrompts, WithoutPadding, only_labels, refuse_other_caches
from src.trainer.step import Report
from tests import tiny

PROMPTS = {"a": [5, 6, 7, 8], "b": [9, 10], "c": [11]}
COMPLETIONS = [("b", [12, 13]), ("a", [14]), ("b", [15, 16, 17]), ("a", [18, 19]), ("c", [20, 21, 22])]


class Spy:
    """A model whose calls' columns are noted."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model, self.shapes = model, list[tuple[int, ...]]()

    def __call__(self, **options: Any) -> Any:
        self.shapes.append(tuple(options["input_ids"].shape))
        return self._model(**options)


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    model = tiny.model()
    add_fused_lm_head(model, temperature=0.7, outputs=("log_probs", "entropy"))
    return model


def batch(rows: list[tuple[str, list[int]]]) -> tuple[dict[str, torch.Tensor], int]:
    """Prompts padded on the left and completions on the right, as TRL's; and the completion columns."""
    left, right = (max(map(len, of)) for of in ([PROMPTS[name] for name, _ in rows], [c for _, c in rows]))
    ids, mask = torch.zeros(len(rows), left + right, dtype=torch.long), torch.zeros(len(rows), left + right)
    for row, (name, completion) in enumerate(rows):
        line = PROMPTS[name] + completion
        begin = left - len(PROMPTS[name])
        ids[row, begin : begin + len(line)] = torch.tensor(line)
        mask[row, begin : begin + len(line)] = 1
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, :left] = -100
    return {"input_ids": ids, "attention_mask": mask.long(), "labels": labels}, right


@pytest.mark.parametrize("rows", [COMPLETIONS, COMPLETIONS[:1] * 3, COMPLETIONS[1:4]])
def test_values_and_gradients_are_those_of_whole_rows(
    model: PreTrainedModel, rows: list[tuple[str, list[int]]]
) -> None:
    given, columns = batch(rows)
    found = []
    for scorer in (model, SharesPrompts(model)):
        model.zero_grad()
        with only_labels():
            output = scorer(**given, fused_lm_head=True)
        values = output.log_probs[:, -columns:], output.entropy[:, -columns:]
        (values[0] * torch.arange(1.0, columns + 1)).sum().backward()
        found.append((*values, *(p.grad.clone() for p in model.parameters())))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_each_prompt_is_computed_once(model: PreTrainedModel) -> None:
    given, columns = batch(COMPLETIONS)
    spy = Spy(model)
    SharesPrompts(spy)(**given, fused_lm_head=True)
    assert spy.shapes == [(3, 3), (5, 1 + columns)]


def test_without_equal_prompts_nothing_changes(model: PreTrainedModel) -> None:
    given, columns = batch([COMPLETIONS[0], COMPLETIONS[1], COMPLETIONS[4]])
    spy = Spy(model)
    SharesPrompts(spy)(**given, fused_lm_head=True)
    assert spy.shapes == [(3, 4 + columns)]


def test_a_prompt_of_one_token_is_not_shared(model: PreTrainedModel) -> None:
    given, columns = batch([COMPLETIONS[4]] * 2)
    spy = Spy(model)
    SharesPrompts(spy)(**given, fused_lm_head=True)
    assert spy.shapes == [(2, 1 + columns)]


def into(found: list[dict[str, float]]) -> Report:
    """A report of steps that keeps their metrics."""
    return lambda step, metrics, fired: found.append(metrics)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("minibatches", [1, 2])
def test_training_gives_the_same_gradients(minibatches: int, skip: bool, tmp_path: Path) -> None:
    """With what the recipe skips, too: groups without an advantage have a prompt of one token."""
    metrics: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    for share, found in metrics.items():
        cfg = tiny.config(
            minibatches=minibatches, share_prompts=share, steps=1, skip_zero_advantage=skip, advantage="grpo"
        )
        tiny.trainer(cfg, tmp_path / str(share), report=into(found)).train()
    for name in ("loss", "grad_norm", "entropy"):
        assert metrics[True][0][name] == pytest.approx(metrics[False][0][name], rel=1e-4, abs=1e-6), name


def test_layers_of_other_kinds_are_refused() -> None:
    refuse_other_caches(Qwen3Config())
    sliding = Qwen3Config(layer_types=["sliding_attention", "full_attention"], num_hidden_layers=2)
    with pytest.raises(
        ConfigError, match=r"share_prompts=true: qwen3 has layers of kinds .*sliding_attention"
    ):
        refuse_other_caches(sliding)


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


def test_scoring_only_labels_changes_no_value_and_no_gradient(model: PreTrainedModel) -> None:
    ids = torch.arange(5, 29).reshape(2, 12)
    labels = ids.clone()
    labels[0, :9] = labels[1, :4] = -100
    found = []
    for compact in (False, True):
        model.zero_grad()
        if compact:
            with only_labels():
                output = model(input_ids=ids, labels=labels, fused_lm_head=True)
        else:
            output = model(input_ids=ids, labels=labels, fused_lm_head=True)
        output.log_probs.sum().backward()
        found.append((output.log_probs, output.entropy, *(p.grad.clone() for p in model.parameters())))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
