"""The training loop of a warm start from a pretrained model; it goes on from its last checkpoint."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from src.config import TuneConfig
from src.run.console import console, progress
from src.run.disk import sync
from src.run.interrupts import Interrupt, interrupts
from src.warm_start.corpus import Batch
from src.warm_start.loss import summed_loss
from src.warm_start.training import rate_factor

CHECKPOINT = "checkpoint.pt"


@dataclass
class Curve:
    """How far the training is, and its losses in nats per learnt token."""

    step: int = 0
    losses: list[float] = field(default_factory=list)  # of each step
    heldout: list[tuple[int, float]] = field(default_factory=list)  # steps done, loss
    seconds: float = 0.0  # all processes together


class Tuning:
    """One supervised training.

    Args:
        cfg: settings.
        model: trained in place.
        steps: the batch of each step.
        heldout: batches for the held-out loss.
        folder: the checkpoint is written into it.
        identity: what a checkpoint must have been made with to be continued.
    """

    def __init__(
        self,
        cfg: TuneConfig,
        model: PreTrainedModel,
        steps: Sequence[Batch],
        heldout: Sequence[Batch],
        folder: Path,
        identity: str,
    ) -> None:
        self._cfg, self._model, self._steps, self._heldout = cfg, model, steps, heldout
        self._file, self._identity = folder / CHECKPOINT, identity
        decayed = [p for p in model.parameters() if p.dim() > 1]
        others = [p for p in model.parameters() if p.dim() <= 1]
        groups = [
            {"params": decayed, "weight_decay": cfg.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=cfg.learning_rate)
        self._curve = Curve()

    def run(self) -> Curve:
        """Train to the end, from a checkpoint if there is one, and return the losses.

        A signal ends it after its step, with a checkpoint (Interrupt).
        """
        self._load()
        if not self._curve.heldout:
            self._measure()
        self._model.train()
        with progress() as bar, interrupts.deferred():
            task = bar.add_task("warm start", total=len(self._steps), completed=self._curve.step)
            while self._curve.step < len(self._steps):
                self._step(self._steps[self._curve.step])
                bar.update(task, description=f"warm start, loss {self._recent():.3f}")
                bar.advance(task)
                self._after_step()
        self._model.eval()
        return self._curve

    def _step(self, batch: Batch) -> None:
        began = time.perf_counter()
        batch = batch.to(self._model.device)
        factor = rate_factor(self._curve.step, len(self._steps), self._cfg.warmup_steps)
        for group in self._optimizer.param_groups:
            group["lr"] = self._cfg.learning_rate * factor
        with self._autocast():
            loss = summed_loss(self._model, batch, self._cfg.head_tokens)
        # not by the batch's own number: see Batch
        (loss / batch.usual_tokens).backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._cfg.max_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._curve.step += 1
        self._curve.losses.append(loss.item() / int((batch.labels[:, 1:] != -100).sum()))
        self._curve.seconds += time.perf_counter() - began

    def _after_step(self) -> None:
        step, last = self._curve.step, self._curve.step == len(self._steps)
        if last or (self._cfg.heldout_every and step % self._cfg.heldout_every == 0):
            self._measure()
        if interrupts.asked is not None:
            self._save()
            raise Interrupt(
                interrupts.asked, "interrupted, with a checkpoint; the same command goes on from it"
            )
        if not last and self._cfg.checkpoint_every and step % self._cfg.checkpoint_every == 0:
            self._save()

    @torch.no_grad()
    def _measure(self) -> None:
        """Note and print the held-out loss."""
        began, training = time.perf_counter(), self._model.training
        self._model.eval()
        total, number = 0.0, 0
        for batch in self._heldout:
            batch = batch.to(self._model.device)
            with self._autocast():
                total += summed_loss(self._model, batch, self._cfg.head_tokens).item()
            number += int((batch.labels[:, 1:] != -100).sum())
        self._model.train(training)
        step = self._curve.step
        self._curve.heldout.append((step, total / number))
        self._curve.seconds += time.perf_counter() - began
        recent = f"  loss {self._recent():.3f}" if step else ""
        console.print(f"step {step:>5}/{len(self._steps)}{recent}  held-out loss {total / number:.3f}")

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self._cfg.autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(self._model.device.type, dtype=getattr(torch, self._cfg.autocast))

    def _recent(self) -> float:
        return sum(self._curve.losses[-10:]) / len(self._curve.losses[-10:])

    def _save(self) -> None:
        """Write a checkpoint and rename it once it is on the disk."""
        partial = self._file.with_suffix(".partial")
        state = {
            "identity": self._identity,
            "curve": asdict(self._curve),
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "random": torch.get_rng_state(),
        }
        torch.save(state, partial)
        sync(partial)
        os.replace(partial, self._file)

    def _load(self) -> None:
        """Take over a checkpoint of the same training; ``identity`` was compared by :func:`identity_of`."""
        if not self._file.is_file():
            return
        state = torch.load(self._file, map_location=self._model.device, weights_only=True)
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"].cpu())
        curve = state["curve"]
        self._curve = Curve(**curve | {"heldout": [tuple(point) for point in curve["heldout"]]})
        console.print(f"going on after step {self._curve.step} of {len(self._steps)}")


def identity_of(folder: Path) -> str | None:
    """Return what the checkpoint in ``folder`` was made with; None: there is none."""
    file = folder / CHECKPOINT
    if not file.is_file():
        return None
    return str(torch.load(file, map_location="cpu", weights_only=True, mmap=True)["identity"])
