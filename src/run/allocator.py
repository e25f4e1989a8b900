"""Keeps freed memory in the process, for tensors on a CPU."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # mallopt(3)


def keep_freed_memory() -> None:
    """Stop glibc from returning freed memory to the system; does nothing with other C libraries.

    By default each tensor above 32 MB is mapped anew, and the kernel clears its pages: a third of the time of
    an update on a CPU (experiments/performance/update).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
