"""A run that was stopped between its last step and its end is not trained further."""

from __future__ import annotations

from pathlib import Path

import torch

from tests import tiny


def test_nothing_is_trained_after_the_last_step(tmp_path: Path) -> None:
    cfg = tiny.config(steps=2, checkpoint_every=1, learning_rate=1e-2)
    whole = tiny.trainer(cfg, tmp_path)
    whole.train()
    checkpoint = tmp_path / "checkpoints" / "step-2"
    again = tiny.trainer(cfg, tmp_path, attempt=1)
    again.train(resume_from_checkpoint=str(checkpoint))
    assert again.rollout_step == 2
    assert {path.name for path in checkpoint.parent.iterdir()} == {"step-1", "step-2"}
    ours, theirs = again.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
