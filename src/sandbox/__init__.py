"""Runs code that the policy writes. ``with build_sandbox(cfg) as sandbox: result = sandbox.run(code)``."""

from __future__ import annotations

from src.sandbox.api import ExecutionResult, InfrastructureError, QueueFull, Sandbox, SandboxError, Status
from src.sandbox.build import build_sandbox

__all__ = [
    "ExecutionResult",
    "InfrastructureError",
    "QueueFull",
    "Sandbox",
    "SandboxError",
    "Status",
    "build_sandbox",
]
