"""The training loop: next-token prediction on what the policy wrote."""

from __future__ import annotations

import math

import torch
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from src.config import WarmStartConfig
from src.console import progress
from src.warm_start.corpus import batches

RECENT = 50  # steps over which the loss is averaged


def rate_factor(cfg: WarmStartConfig, step: int) -> float:
    """Linear warm-up, then a cosine to zero, as a factor of the learning rate."""
    if step < cfg.warmup_steps:
        return (step + 1) / cfg.warmup_steps
    progress = (step - cfg.warmup_steps) / max(1, cfg.steps - cfg.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * progress))


def train(cfg: WarmStartConfig, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast) -> float:
    """Train in place; returns the mean loss per policy token over the last steps, in nats."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": cfg.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=cfg.learning_rate,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_factor(cfg, step))
    source = batches(cfg, tokenizer)
    losses: list[float] = []
    model.train()
    with progress() as bar:
        task = bar.add_task("warm start", total=cfg.steps)
        for _ in range(cfg.steps):
            ids, attention, labels = next(source)
            logits = model(input_ids=ids, attention_mask=attention).logits
            loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), cfg.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
            losses.append(loss.item())
            bar.update(task, advance=1, description=f"warm start, loss {_recent(losses):.3f}")
    model.eval()
    return _recent(losses)


def _recent(losses: list[float]) -> float:
    return sum(losses[-RECENT:]) / len(losses[-RECENT:])
