"""What the loss does not need is not computed, and the rest stays the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from src.trainer.batches import by_length, loss_tokens, without_zero_advantage
from src.trainer.cir_trainer import CIRTrainer
from src.trainer.step import TrainingStep
from tests import tiny

LENGTHS = [5, 1, 7, 2, 6, 3, 8, 4]  # two optimizer steps of two micro-batches of two rows


def micro_batches() -> list[dict[str, torch.Tensor]]:
    completion = torch.arange(8)[None, :] < torch.tensor(LENGTHS)[:, None]
    rows = {
        "prompt_mask": torch.ones(8, 3, dtype=torch.long),
        "completion_mask": completion.long(),
        "advantages": torch.tensor(LENGTHS, dtype=torch.float32),
    }
    return [
        {name: value[start : start + 2] for name, value in rows.items()}
        | {"num_items_in_batch": torch.tensor(36), "nothing": None}
        for start in range(0, 8, 2)
    ]


def test_rows_are_sorted_within_their_optimizer_step() -> None:
    found = [*by_length(micro_batches()[:2]), *by_length(micro_batches()[2:])]
    assert [one["advantages"].tolist() for one in found] == [[1, 2], [5, 7], [3, 4], [6, 8]]
    for one in found:
        assert one["completion_mask"].sum(dim=1).tolist() == one["advantages"].tolist(), "all of a row moves"
        assert one["num_items_in_batch"] == 36
        assert one["nothing"] is None


def test_less_padding_is_left() -> None:
    def area(batches: list[dict[str, torch.Tensor]]) -> int:
        return sum(2 * int(one["completion_mask"].sum(dim=1).max()) for one in batches)

    assert area(by_length(micro_batches())) < area(micro_batches())


def test_a_trajectory_without_advantage_has_two_tokens_and_no_loss() -> None:
    (one, *_) = micro_batches()
    one["advantages"] = torch.tensor([0.0, 1.0])
    found = without_zero_advantage(one)
    assert [found["prompt_mask"].tolist(), one["prompt_mask"].tolist()] == [
        [[0, 0, 1], [1, 1, 1]],
        [[1, 1, 1]] * 2,
    ]
    assert found["completion_mask"].sum(dim=1).tolist() == [1, 1]
    assert loss_tokens(found) == 1, "of the other trajectory"
    assert loss_tokens(one) == 6


def test_rows_with_the_same_prompt_stay_together() -> None:
    batches = micro_batches()
    for one in batches:
        one["prompt_ids"] = (one["advantages"].long() % 2)[:, None].expand(2, 3)
    found = torch.cat([one["advantages"] for one in by_length(batches, grouped=True)])
    assert found.tolist() == [5, 1, 7, 3, 2, 6, 8, 4], "the odd ones have at most 7 tokens"


@pytest.mark.parametrize("minibatches", [1, 2])
def test_skipping_them_gives_the_same_weights(
    minibatches: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the groups are uniform; the tokens that are computed are fewer."""
    monkeypatch.setattr(
        TrainingStep,
        "advantages",
        lambda self, centred, *_: centred * torch.tensor([0.0, 1.0]).repeat_interleave(4),
    )
    found, metrics = {}, list[dict[str, float]]()
    for skip in (False, True):
        cfg = tiny.config(minibatches=minibatches, advantage="grpo", skip_zero_advantage=skip)
        trainer = tiny.trainer(cfg, tmp_path / str(skip), report=lambda step, of, fired: metrics.append(of))
        tokens = Tokens(trainer)
        trainer.train()
        found[skip] = trainer.model.state_dict(), tokens.count
    for name, value in found[False][0].items():
        torch.testing.assert_close(found[True][0][name], value, rtol=0, atol=1e-4)  # Adam moves 0.01 a step
    assert found[True][1] < 0.9 * found[False][1]
    assert all(0 < one["entropy"] < 10 for one in metrics)


class Tokens:
    """Counts the tokens that a trainer's model is given, padding included."""

    def __init__(self, trainer: CIRTrainer) -> None:
        self.count = 0
        trainer.model.get_input_embeddings().register_forward_pre_hook(self._add)

    def _add(self, module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        self.count += given[0].numel()
