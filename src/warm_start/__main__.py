"""Entry point: ``python -m src.warm_start`` trains the mini base policy.

It trains a tokenizer, then a small Qwen3 from scratch on generated solutions, in words and with code, which
include mistakes, feedback and repairs. It evaluates the result on held-out problems and writes a README.
"""

from __future__ import annotations

import sys
from pathlib import Path

from src.launch.entry import entry
from src.run import folder_lock
from src.warm_start.config import WarmStartConfig


@entry("warm_start", WarmStartConfig, alone=True)
def main(cfg: WarmStartConfig, run_dir: Path) -> None:
    """Run the warm start; slow imports are local, so that an invalid configuration fails in seconds."""
    output = Path(cfg.output)
    folder_lock.take(output, "output")
    from src.sandbox import SandboxError
    from src.warm_start.make import make_base

    try:
        make_base(cfg, run_dir)
    except SandboxError as error:
        sys.exit(f"SandboxError: {error}")
    finally:
        folder_lock.release(output)


if __name__ == "__main__":
    main()
