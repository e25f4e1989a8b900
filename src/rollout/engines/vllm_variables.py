"""Environment variables that vLLM reads on import; importing TRL imports vLLM."""

from __future__ import annotations

import os

from src.config import EngineConfig


def set_vllm_variables(cfg: EngineConfig) -> None:
    """Set the variables that the user has not set; call this before TRL is imported."""
    for name, value in {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # its engine must be in this process to be stepped
        "VLLM_CPU_KVCACHE_SPACE": str(cfg.vllm.cpu_memory_gb),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # the cores are shared with the trainer and the sandbox
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_NO_USAGE_STATS": "1",
    }.items():
        os.environ.setdefault(name, value)
