"""The hardware of a run; only ``estimate=true`` reads it."""

from __future__ import annotations

from dataclasses import dataclass

from src.config.schema import option


@dataclass
class HardwareConfig:
    """The hardware that ``estimate=true`` assumes: GPUs of one kind, or a CPU."""

    kind: str = option("auto", "auto: gpu if there is one, else cpu", choices=("auto", "gpu", "cpu"))
    gpus: int | None = option(
        None, "number of GPUs, with one process each; null: WORLD_SIZE of the launcher, else 1", at_least=1
    )
    gpu_memory_gb: float | None = option(
        None, "memory of one GPU (of a CPU: its RAM) in 10^9 bytes; null: that of this machine", above=0
    )
    tflops: float | None = option(
        None,
        "peak TFLOP/s of one GPU, dense bfloat16; null: measured by a matrix product on this machine",
        above=0,
    )
    sharding: str = option(
        "none",
        "none: DDP; fsdp2, zero3: weights, gradients and optimizer states are sharded",
        choices=("none", "fsdp2", "zero3"),
    )
    usable_memory_fraction: float = option(
        0.92, "fraction of the memory; the rest is for CUDA, NCCL and fragmentation", above=0, at_most=1
    )
    training_mfu: float = option(0.35, "assumed model FLOPs utilization in training", above=0, at_most=1)
    sampling_mfu: float = option(0.10, "assumed model FLOPs utilization in sampling", above=0, at_most=1)
