"""The processes of one run: who this one is, and what they tell each other.

``accelerate launch`` or ``torchrun`` starts them and says who is who through the environment. Alone, a
process talks to nobody, and torch.distributed is neither imported nor set up.
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
    """Return this process's place among them, from 0; the first writes what a run writes."""
    return int(os.environ.get("RANK", "0"))


def local_world_size() -> int:
    """Return how many of them are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", str(world_size())))


def cores() -> int:
    """Return this process's share of the cores that this run may use on this machine, at least 1."""
    return max(1, len(os.sched_getaffinity(0)) // local_world_size())


class Ranks:
    """What the processes of a run tell each other; a context manager around their common life.

    Every method is collective: all processes call it, in the same order, or all wait.

    Args:
        seconds: how long one waits for the others before it gives up.

    Attributes:
        world: number of processes.
        rank: of this one.
    """

    def __init__(self, seconds: float = 3600.0) -> None:
        self.world, self.rank = world_size(), rank()
        self._seconds = seconds

    @property
    def first(self) -> bool:
        """Whether this process writes what the run writes."""
        return self.rank == 0

    def __enter__(self) -> Self:
        if self.world > 1:
            import torch
            from torch import distributed

            if torch.cuda.is_available():
                torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
            else:  # accelerate would say cpu:0, cpu:1, ..., where torch cannot load a checkpoint to
                os.environ.setdefault("ACCELERATE_TORCH_DEVICE", "cpu")
            # what is said here is small and stays on the CPU, gradients on the GPUs
            backend = "cuda:nccl,cpu:gloo" if torch.cuda.is_available() else "gloo"
            distributed.init_process_group(backend, timeout=timedelta(seconds=self._seconds))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.world > 1 and kind is None:  # after an error the launcher ends the others, who wait
            from torch import distributed

            self.wait()
            if "vllm" not in sys.modules:  # which ends its own groups, and this one, at exit
                distributed.destroy_process_group()

    def wait(self) -> None:
        """Return when all are here."""
        if self.world > 1:
            from torch import distributed

            distributed.barrier()

    def gather(self, value: T) -> list[T]:
        """Return everyone's value, by rank."""
        if self.world == 1:
            return [value]
        from torch import distributed

        values: list[Any] = [None] * self.world
        distributed.all_gather_object(values, value)
        return values

    def gather_to_first(self, value: T) -> list[T]:
        """Return everyone's value, by rank, in the first process; nothing in the others."""
        if self.world == 1:
            return [value]
        from torch import distributed

        values: list[Any] | None = [None] * self.world if self.first else None
        distributed.gather_object(value, values)
        return values or []

    def broadcast(self, value: T) -> T:
        """Return the first process's value."""
        if self.world == 1:
            return value
        from torch import distributed

        values = [value]
        distributed.broadcast_object_list(values)
        return values[0]

    def any(self, value: bool) -> bool:
        """Return whether it holds for anyone."""
        if self.world == 1:
            return value
        import torch
        from torch import distributed

        flag = torch.tensor(int(value))
        distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
        return bool(flag)

    def shard(self, things: Sequence[T]) -> Sequence[T]:
        """Return this process's share of ``things``, which all have: every N-th."""
        return things[self.rank :: self.world]
