"""``python -m src.sandbox < program.py``: run one program, print one JSON object.

Hydra overrides are arguments (``sandbox=docker sandbox.wall_seconds=10``). The exit code is 1 for the status
``infrastructure``, 2 for a configuration error, and 0 otherwise.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from src.config import ExecuteConfig
from src.launch.entry import entry


@entry("execute", ExecuteConfig)
def main(cfg: ExecuteConfig, run_dir: Path) -> None:
    """Execute the program on stdin."""
    from src.sandbox import ExecutionResult, SandboxError, Status, build_sandbox

    jail = None
    try:
        with build_sandbox(cfg.sandbox) as sandbox:
            jail = sandbox.jail
            result = sandbox.run(sys.stdin.buffer.read().decode("utf-8", "surrogateescape"))
    except SandboxError as error:
        result = ExecutionResult(Status.INFRASTRUCTURE, "", str(error), 0.0)
    print(
        json.dumps(
            {
                "status": result.status,
                "output": result.output,
                "stdout": result.stdout,
                "error": result.error,
                "seconds": result.seconds,
                "jail": jail,
            }
        )
    )
    if result.status is Status.INFRASTRUCTURE:
        sys.exit(1)


if __name__ == "__main__":
    main()
