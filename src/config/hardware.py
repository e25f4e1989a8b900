"""What a run would run on; only ``estimate=true`` reads it."""

from __future__ import annotations

from dataclasses import dataclass

from src.config.schema import option


@dataclass
class HardwareConfig:
    """What ``estimate=true`` measures a run against: one kind of GPU, or a CPU."""

    kind: str = option("auto", "auto: gpu where there is one", choices=("auto", "gpu", "cpu"))
    gpus: int | None = option(
        None, "one process each; null: those of the launcher (WORLD_SIZE), else 1", at_least=1
    )
    gpu_memory_gb: float | None = option(
        None, "of one GPU, in 10^9 bytes; of a CPU its RAM; null: as it is on this machine", above=0
    )
    tflops: float | None = option(
        None, "of one GPU, dense bfloat16; null: a matrix product is timed on this machine", above=0
    )
    sharding: str = option(
        "none",
        "what the processes share out: nothing (DDP), or weights, gradients and optimizer",
        choices=("none", "fsdp2", "zero3"),
    )
    usable_memory_fraction: float = option(
        0.92, "share of the memory; the rest is CUDA's, NCCL's, and fragments", above=0, at_most=1
    )
    training_mfu: float = option(
        0.35, "assumption: the model's FLOP/s in training over tflops", above=0, at_most=1
    )
    sampling_mfu: float = option(
        0.10, "assumption: the model's FLOP/s in sampling over tflops", above=0, at_most=1
    )
