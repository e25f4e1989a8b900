"""Entry point: ``python -m src.warm_start`` trains the mini base policy, or starts from a pretrained model.

For the mini policy it trains a tokenizer, then a small Qwen3 from scratch on generated solutions, in words
and with code, which include mistakes, feedback and repairs; it evaluates the result on held-out problems.
With ``model=smollm2_135m`` or ``model.path=MODEL`` it trains that one on a few, in its chat template.
"""

from __future__ import annotations

import sys
from pathlib import Path

from src.config import WarmStartConfig
from src.launch.entry import entry
from src.run import folder_lock


@entry("warm_start", WarmStartConfig, alone=True)
def main(cfg: WarmStartConfig, run_dir: Path) -> None:
    """Run the warm start; slow imports are local, so that an invalid configuration fails in seconds."""
    output = Path(cfg.output)
    folder_lock.take(output, "output")
    if cfg.model.path is not None:
        _start_from_model(cfg, output)
        return
    from src.sandbox import SandboxError
    from src.warm_start.make import make_base

    try:
        make_base(cfg, run_dir)
    except SandboxError as error:
        sys.exit(f"SandboxError: {error}")
    finally:
        folder_lock.release(output)


def _start_from_model(cfg: WarmStartConfig, output: Path) -> None:
    from src.warm_start.from_model import start_from_model

    try:
        start_from_model(cfg)
    finally:
        folder_lock.release(output)


if __name__ == "__main__":
    main()
