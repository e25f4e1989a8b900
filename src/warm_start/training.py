"""The training loop of the warm start: next-token prediction on unmasked tokens."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch.nn.functional import cross_entropy
from torch.optim import AdamW, Muon, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from src.config import WarmStartConfig
from src.formats.base import Format
from src.run.console import console, progress
from src.warm_start.corpus import batches

RECENT = 50  # steps over which the loss is averaged
LINE_EVERY = 100


def rate_factor(step: int, steps: int, warmup_steps: int) -> float:
    """Return the factor of the learning rate: linear warm-up, then cosine decay to zero."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * progress))


def build_optimizers(cfg: WarmStartConfig, model: Qwen3ForCausalLM) -> list[Optimizer]:
    """Return Muon for the layers' matrices (half the loss of AdamW after 400 steps), AdamW for the rest."""
    embedding = model.get_input_embeddings().weight
    matrices = [p for p in model.parameters() if p.dim() == 2 and p is not embedding]
    others = [embedding, *(p for p in model.parameters() if p.dim() != 2)]
    return [
        Muon(matrices, lr=cfg.learning_rate, weight_decay=cfg.weight_decay, adjust_lr_fn="match_rms_adamw"),
        AdamW(others, lr=cfg.learning_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def train(
    cfg: WarmStartConfig, form: Format, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> float:
    """Train in place; return the mean loss per unmasked token over the last steps, in nats."""
    optimizers = build_optimizers(cfg, model)
    factor = partial(rate_factor, steps=cfg.steps, warmup_steps=cfg.warmup_steps)
    schedules = [LambdaLR(optimizer, factor) for optimizer in optimizers]
    source = batches(cfg, form, tokenizer)
    losses: list[float] = []
    model.train()
    with progress() as bar:
        task = bar.add_task("warm start", total=cfg.steps)
        for step in range(1, cfg.steps + 1):
            batch = next(source).to(model.device)
            logits = model(input_ids=batch.ids, attention_mask=batch.attention).logits
            total = cross_entropy(
                logits[:, :-1].flatten(0, 1), batch.labels[:, 1:].flatten(), reduction="sum"
            )
            loss = total / batch.usual_tokens
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), cfg.max_grad_norm)
            for optimizer, schedule in zip(optimizers, schedules, strict=True):
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                schedule.step()
            losses.append(loss.item())
            bar.update(task, advance=1, description=f"warm start, loss {_recent(losses):.3f}")
            if step % LINE_EVERY == 0 or step == cfg.steps:  # progress bars do not appear in log files
                console.print(f"step {step:>5}/{cfg.steps}  loss {_recent(losses):.3f}")
    model.eval()
    return _recent(losses)


def _recent(losses: list[float]) -> float:
    return sum(losses[-RECENT:]) / len(losses[-RECENT:])
