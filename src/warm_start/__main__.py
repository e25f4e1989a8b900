"""Entry: ``python -m src.warm_start`` makes the mini base policy.

It learns a tokenizer, trains a small Qwen3 from scratch on generated solutions, by hand and with code,
mistakes, feedback and repairs included, measures the result on held-out problems, and writes a README.
"""

from __future__ import annotations

import sys
from pathlib import Path

from src.launch.entry import entry
from src.run import folder_lock
from src.warm_start.config import WarmStartConfig


@entry("warm_start", WarmStartConfig, alone=True)
def main(cfg: WarmStartConfig, run_dir: Path) -> None:
    """Run the warm start; the imports are here so that a bad configuration fails in seconds."""
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
