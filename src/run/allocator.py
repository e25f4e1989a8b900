"""Keeps freed memory in the process, for tensors on a CPU."""

from __future__ import annotations

import ctypes
import os

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # mallopt(3)
_OF_THE_USER = ("GLIBC_TUNABLES", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")


def keep_freed_memory() -> None:
    """Stop glibc from returning freed memory to the system, unless the user has set how it allocates.

    By default each tensor above 32 MB is mapped anew, and the kernel clears its pages; what that costs an
    update on a CPU: experiments/performance/update.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and not any(name in os.environ for name in _OF_THE_USER):  # glibc has it
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
