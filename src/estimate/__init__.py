"""``estimate=true``: the memory and time that a run needs, before it starts.

Only the model's config.json is read. The memory of forward and backward passes is traced (passes.py) and
added to weights, gradients and optimizer states (memory.py); time is model FLOPs divided by assumed rates
(hours.py).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from src.config import Config
from src.config.schema import ConfigError
from src.estimate.advice import advise, splits_evenly
from src.estimate.hours import count_hours
from src.estimate.machine import find_machine
from src.estimate.memory import Estimator
from src.estimate.report import RunEstimate, show_estimate
from src.launch.checks import style_and_format
from src.run.console import console
from src.run.disk import write_json
from src.run.processes import rank

DOES_NOT_FIT = 3  # exit code
FILE = "estimate.json"


def estimate(cfg: Config) -> RunEstimate:
    """Return the estimate for the run of ``cfg``.

    Raises:
        ConfigError: the model's config.json cannot be read, trajectories exceed its context length, or
            batches cannot be divided among the GPUs.
    """
    known = style_and_format.notes(cfg.model, cfg.trainer.resume)
    cfg = replace(cfg, model=style_and_format.extended(cfg.model, known))
    machine = find_machine(cfg.hardware, cfg.trainer.autocast or cfg.model.dtype)
    if not splits_evenly(cfg, machine.gpus):
        raise ConfigError(
            f"hardware.gpus={machine.gpus}: trainer.batch_size={cfg.trainer.batch_size} / "
            f"trainer.minibatches={cfg.trainer.minibatches} cannot be split into parts of "
            f"trainer.micro_batch_size={cfg.trainer.micro_batch_size} for each; give fewer GPUs, or a "
            "smaller trainer.micro_batch_size"
        )
    estimator = Estimator(cfg)
    memory = estimator.memory(cfg, machine)
    flipped = replace(cfg.trainer, gradient_checkpointing=not cfg.trainer.gradient_checkpointing)
    other = estimator.memory(replace(cfg, trainer=flipped), machine)
    advice = [] if memory.fits else advise(cfg, machine, estimator)
    p = estimator.parameters(cfg.model)
    return RunEstimate(p, machine, memory, other.update, count_hours(cfg, machine, p), advice)


def run(cfg: Config, run_dir: Path) -> int:
    """Print the estimate, write ``estimate.json``, and return the exit code: 0 if the run fits, else 3."""
    result = estimate(cfg)
    if rank() == 0:
        show_estimate(console, cfg, result)
        write_json(run_dir / FILE, result.json())
    return 0 if result.memory.fits else DOES_NOT_FIT
