"""What a run would run on: what the configuration says, and where it says nothing, what is here."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import torch

from src.config import HardwareConfig
from src.config.schema import ConfigError
from src.run.processes import local_world_size, world_size

_FLOAT32_SHARE = 1 / 16  # of a GPU's bfloat16 rate, without TF32 (H100: 67 of 989, A100: 19.5 of 312)
_TRIALS = 5


@dataclass(frozen=True)
class Machine:
    """GPUs of one kind, or processes on a CPU.

    Attributes:
        name: for people.
        gpu: whether they are GPUs.
        gpus: how many.
        memory: bytes of one; of a CPU, those for one process.
        flops: floating-point operations per second of one, in what passes are computed in.
        timed: whether ``flops`` is what a matrix product reached here, not what the maker says.
    """

    name: str
    gpu: bool
    gpus: int
    memory: int
    flops: float
    timed: bool


def find_machine(cfg: HardwareConfig, dtype: str) -> Machine:
    """Return the machine that ``cfg`` means, for passes computed in ``dtype``.

    Raises:
        ConfigError: a GPU is asked for, none is here, and its numbers are not given.
    """
    gpu = cfg.kind == "gpu" or (cfg.kind == "auto" and torch.cuda.is_available())
    here = "cuda" if gpu else "cpu"
    if gpu and not torch.cuda.is_available() and None in (cfg.gpu_memory_gb, cfg.tflops):
        raise ConfigError(
            "hardware.kind=gpu: there is none here to look at; give hardware.gpu_memory_gb and "
            "hardware.tflops, or choose hardware=h100_80gb, hardware=a100_80gb or hardware=cpu"
        )
    name = "GPU" if gpu else f"CPU ({os.cpu_count()} cores)"
    if gpu and cfg.gpu_memory_gb is None:
        name = torch.cuda.get_device_name()
    memory = cfg.gpu_memory_gb * 1e9 if cfg.gpu_memory_gb is not None else _memory(here)
    if cfg.tflops is None:
        flops = _time_product(here, getattr(torch, dtype))
    else:
        flops = cfg.tflops * 1e12 * (_FLOAT32_SHARE if gpu and dtype == "float32" else 1)
    return Machine(name, gpu, cfg.gpus or world_size(), int(memory), flops, cfg.tflops is None)


def _memory(device: str) -> int:
    if device == "cuda":
        return int(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // local_world_size()


def _time_product(device: str, dtype: torch.dtype) -> float:
    """Return the operations per second of a product of two matrices, the best of a few."""
    side = 8192 if device == "cuda" else 1024
    matrix = torch.ones(side, side, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(_TRIALS):
        start = time.perf_counter()
        result = matrix @ matrix
        result[0, 0].item()  # waits for a GPU
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best
