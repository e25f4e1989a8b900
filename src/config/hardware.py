"""What a run would run on; only ``estimate=true`` reads it."""

from __future__ import annotations

from dataclasses import dataclass

from src.config.schema import option


@dataclass
class HardwareConfig:
    """One kind of GPU, or a CPU. None: as it is on this machine."""

    kind: str = option("auto", choices=("auto", "gpu", "cpu"))  # auto: gpu where there is one
    gpus: int | None = option(None, at_least=1)  # one process each; None: WORLD_SIZE, else 1
    gpu_memory_gb: float | None = option(None, above=0)  # of one GPU, 10^9 bytes; of a CPU its RAM
    tflops: float | None = option(None, above=0)  # of one, dense bfloat16; None: a product is timed here
    # what the processes share out: nothing (DDP), or weights, gradients and optimizer
    sharding: str = option("none", choices=("none", "fsdp2", "zero3"))
    usable: float = option(0.92, above=0, at_most=1)  # share of the memory; the rest: CUDA, NCCL, fragments
    # assumptions: model FLOP/s over tflops
    training_utilisation: float = option(0.35, above=0, at_most=1)
    sampling_utilisation: float = option(0.10, above=0, at_most=1)
