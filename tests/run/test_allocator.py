"""Freed memory stays in the process, unless the user has set how glibc allocates."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from src.config.paths import ROOT

PROGRAM = """
import ctypes, resource
from src.run.allocator import keep_freed_memory

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
keep_freed_memory()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    place = libc.malloc(100_000_000)
    ctypes.memset(place, 1, 100_000_000)
    libc.free(place)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.parametrize(("given", "kept"), [({}, True), ({"MALLOC_TRIM_THRESHOLD_": "131072"}, False)])
def test_the_second_allocation_finds_its_pages(given: dict[str, str], kept: bool) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True, text=True, check=True, cwd=ROOT, env={**os.environ, **given},
    )  # fmt: skip
    assert (int(ran.stdout) < 1000) == kept, f"{ran.stdout} page faults of about 24,400"
