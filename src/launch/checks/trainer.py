"""Checks of the trainer's settings: batches that can be split, and the checkpoint to resume from."""

from __future__ import annotations

import math
from pathlib import Path

from src import config as c
from src.run import checkpoints
from src.run.processes import world_size


def trainer(cfg: c.TrainerConfig, at: str) -> list[str]:
    """Return the faults of the trainer's settings."""
    faults = []
    batch, samples, minis, micro = (
        cfg.batch_size,
        cfg.samples_per_prompt,
        cfg.minibatches,
        cfg.micro_batch_size,
    )
    world = world_size()
    if batch % samples:
        nearest = _multiples_near(batch, math.lcm(samples, minis * micro * world))
        faults.append(
            f"{at}batch_size={batch}: not divisible by {at}samples_per_prompt={samples}; nearest: {nearest}"
        )
    elif batch % minis:
        faults.append(
            f"{at}minibatches={minis}: {at}batch_size={batch} cannot be split into that many equal parts; "
            f"nearest: {_divisors_near(minis, batch)}"
        )
    elif batch // minis % world:
        faults.append(
            f"{at}batch_size={batch}: a mini-batch of {batch // minis} trajectories ({at}minibatches="
            f"{minis}) cannot be divided among {world} processes; nearest: "
            f"{_multiples_near(batch, minis * world * samples)}"
        )
    elif (batch // minis // world) % micro:
        part = batch // minis // world
        of = f" / {world} processes" if world > 1 else ""
        faults.append(
            f"{at}micro_batch_size={micro}: a mini-batch of {part} trajectories ({at}batch_size="
            f"{batch} / {at}minibatches={minis}{of}) cannot be split into parts of that size; nearest: "
            f"{_divisors_near(micro, part)}"
        )
    elif cfg.dynamic_sampling and batch // world % samples:
        faults.append(
            f"{at}dynamic_sampling={cfg.dynamic_sampling}: it replaces whole groups, but each of {world} "
            f"processes has {batch // world} trajectories, not a multiple of "
            f"{at}samples_per_prompt={samples}; nearest "
            f"{at}batch_size: {_multiples_near(batch, samples * world * minis * micro)}"
        )
    if cfg.dual_clip is not None and cfg.dual_clip < 1 + cfg.clip_high:
        faults.append(
            f"{at}dual_clip={cfg.dual_clip:g}: TRL would apply it to positive advantages, too, below 1 + "
            f"{at}clip_high={cfg.clip_high:g}; give more, or null"
        )
    if cfg.whiten_over != "policy" and cfg.advantage in ("grpo", "dr_grpo", "rloo"):
        faults.append(
            f"{at}whiten_over={cfg.whiten_over}: {at}advantage={cfg.advantage} does not whiten; leave it at "
            f"policy, or choose {at}advantage=reinforce_plus_plus_baseline"
        )
    if cfg.warmup_steps >= cfg.steps * minis:
        faults.append(
            f"{at}warmup_steps={cfg.warmup_steps}: the run has only {cfg.steps * minis} optimizer steps "
            f"({at}steps={cfg.steps} x {at}minibatches={minis}); give fewer"
        )
    if cfg.share_prompts:
        faults += [
            f"{at}share_prompts=true: {other}; leave it false"
            for other, there in {
                f"{at}gradient_checkpointing=true keeps no keys and values": cfg.gradient_checkpointing,
                f"a run of {world} processes would synchronise gradients too early": world > 1,
            }.items()
            if there
        ]
    return faults + _skipping(cfg, at) + _resume(cfg.resume)


def _skipping(cfg: c.TrainerConfig, at: str) -> list[str]:
    if not cfg.skip_zero_advantage:
        return []
    needs = {
        f"{at}kl_coef={cfg.kl_coef:g}": cfg.kl_coef != 0,
        f"{at}entropy_coef={cfg.entropy_coef:g}": cfg.entropy_coef != 0,
        f"{at}loss_type={cfg.loss_type}": cfg.loss_type == "bnpo",
    }
    return [
        f"{at}skip_zero_advantage=true: with {setting} these trajectories change the gradient; leave it false"
        for setting, has in needs.items()
        if has
    ]


def _resume(resume: str | None) -> list[str]:
    if resume is not None:
        try:
            checkpoints.resolve(Path(resume).expanduser())
        except checkpoints.CheckpointError as error:
            return [str(error)]
    return []


def _multiples_near(value: int, unit: int) -> str:
    """Return the multiples of ``unit`` around ``value``, as text."""
    low = value - value % unit
    return " or ".join(str(size) for size in (low, low + unit) if size)


def _divisors_near(value: int, total: int) -> str:
    """Return the divisors of ``total`` just below and just above ``value``, as text."""
    divisors = [n for n in range(1, total + 1) if total % n == 0]
    below = [n for n in divisors if n < value][-1:]
    above = [n for n in divisors if n > value][:1]
    return " or ".join(map(str, below + above))
