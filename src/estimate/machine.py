"""The hardware of a run: from the configuration, or else that of this machine."""

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
        name: for display.
        gpu: whether they are GPUs.
        gpus: number of them.
        memory: bytes of one; on a CPU, per process.
        flops: floating-point operations per second of one, in the dtype of passes.
        timed: whether ``flops`` was measured by a matrix product, rather than specified.
    """

    name: str
    gpu: bool
    gpus: int
    memory: int
    flops: float
    timed: bool


def find_machine(cfg: HardwareConfig, dtype: str) -> Machine:
    """Return the machine of ``cfg``, for passes computed in ``dtype``.

    Raises:
        ConfigError: a GPU is requested without its specification, and this machine has none.
    """
    gpu = cfg.kind == "gpu" or (cfg.kind == "auto" and torch.cuda.is_available())
    here = "cuda" if gpu else "cpu"
    if gpu and not torch.cuda.is_available() and None in (cfg.gpu_memory_gb, cfg.tflops):
        raise ConfigError(
            "hardware.kind=gpu: this machine has no GPU to measure; give hardware.gpu_memory_gb and "
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
    """Return the operations per second of a matrix product, the best of a few trials."""
    side = 8192 if device == "cuda" else 1024
    matrix = torch.ones(side, side, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(_TRIALS):
        start = time.perf_counter()
        result = matrix @ matrix
        result[0, 0].item()  # waits for a GPU
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best
