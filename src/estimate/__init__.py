"""``estimate=true``: what memory and time a run needs, before it starts.

Nothing of a model is read but its config.json. What passes hold is traced (passes.py) and added up with
weights, gradients and optimizer states (memory.py); time is model FLOPs over assumed rates (hours.py).
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
from src.run.processes import rank
from src.run.records import write_json

DOES_NOT_FIT = 3  # exit code
FILE = "estimate.json"


def estimate(cfg: Config) -> RunEstimate:
    """Return what the run of ``cfg`` needs.

    Raises:
        ConfigError: the model's config.json cannot be had, trajectories do not fit into its positions, or
            batches cannot be shared out over the GPUs.
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
