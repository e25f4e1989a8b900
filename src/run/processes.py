"""The processes of a run: rank of this process, and collective communication.

``accelerate launch`` or ``torchrun`` starts them and sets their ranks in the environment. A single process
does not communicate, and torch.distributed is neither imported nor initialised.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Self, TypeVar

T = TypeVar("T")


def world_size() -> int:
    """Return the number of processes of this run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return the rank of this process, from 0; rank 0 writes the files of a run."""
    return int(os.environ.get("RANK", "0"))


def local_world_size() -> int:
    """Return the number of processes of this run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", str(world_size())))


def cores() -> int:
    """Return this process's share of the cores that this run may use on this machine, at least 1."""
    return max(1, len(os.sched_getaffinity(0)) // local_world_size())


class Ranks:
    """Collective communication between the processes of a run; a context manager.

    Every method is collective: all processes must call it, in the same order.

    Args:
        seconds: timeout of waiting for the other processes.

    Attributes:
        world: number of processes.
        rank: rank of this process.
    """

    def __init__(self, seconds: float = 3600.0) -> None:
        self.world, self.rank = world_size(), rank()
        self._seconds = seconds

    @property
    def first(self) -> bool:
        """Whether this process is rank 0, which writes the files of the run."""
        return self.rank == 0

    def __enter__(self) -> Self:
        if self.world > 1:
            import torch
            from torch import distributed

            if torch.cuda.is_available():
                torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
            else:  # accelerate would use cpu:0, cpu:1, ..., to which torch cannot load a checkpoint
                os.environ.setdefault("ACCELERATE_TORCH_DEVICE", "cpu")
            # these messages are small and stay on the CPU, gradients on the GPUs
            backend = "cuda:nccl,cpu:gloo" if torch.cuda.is_available() else "gloo"
            distributed.init_process_group(backend, timeout=timedelta(seconds=self._seconds))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.world > 1 and kind is None:  # after an error the launcher ends the waiting processes
            from torch import distributed

            self.wait()
            if "vllm" not in sys.modules:  # vLLM destroys all process groups at exit
                distributed.destroy_process_group()

    def wait(self) -> None:
        """Wait until all processes have called this."""
        if self.world > 1:
            from torch import distributed

            distributed.barrier()

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, by rank."""
        if self.world == 1:
            return [value]
        from torch import distributed

        values: list[Any] = [None] * self.world
        distributed.all_gather_object(values, value)
        return values

    def gather_to_first(self, value: T) -> list[T]:
        """Return the values of all processes, by rank, on rank 0; an empty list elsewhere."""
        if self.world == 1:
            return [value]
        from torch import distributed

        values: list[Any] | None = [None] * self.world if self.first else None
        distributed.gather_object(value, values)
        return values or []

    def broadcast(self, value: T) -> T:
        """Return the value of rank 0."""
        if self.world == 1:
            return value
        from torch import distributed

        values = [value]
        distributed.broadcast_object_list(values)
        return values[0]

    def any(self, value: bool) -> bool:
        """Return whether the value is true in any process."""
        if self.world == 1:
            return value
        import torch
        from torch import distributed

        flag = torch.tensor(int(value))
        distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
        return bool(flag)

    def shard(self, things: Sequence[T]) -> Sequence[T]:
        """Return every N-th of ``things``, which must be the same in all processes."""
        return things[self.rank :: self.world]
