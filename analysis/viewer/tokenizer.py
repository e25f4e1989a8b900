"""Finds the tokenizer of a run, which gives tokens their text."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from src.config import ModelConfig
from src.config.schema import ConfigError
from src.run.checkpoints import complete
from src.run.records import CONFIG

if TYPE_CHECKING:
    from src.policy.codec import TokenCodec


def load(folder: Path, given: str | None) -> tuple[TokenCodec | None, str]:
    """Return the codec of a run's tokenizer, or None and why there is none.

    It is that of the last checkpoint, else that of the model the run started from. Nothing is downloaded.

    Args:
        folder: of the run.
        given: folder of a tokenizer, which is then used instead.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when transformers is imported
    from src.policy.loading import load_codec

    why = "the run's folder has neither a checkpoint nor a config.json"
    for path, revision in _places(folder) if given is None else [(given, None)]:
        try:
            return load_codec(ModelConfig(path=path, revision=revision)), ""
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
            why = f"{path} cannot be loaded ({str(error).splitlines()[0][:200]})"
    return None, f"{why}; give its folder with tokenizer=FOLDER"


def _places(folder: Path) -> list[tuple[str, str | None]]:
    """Return the models whose tokenizer may be that of the run, the best first."""
    found: list[tuple[str, str | None]] = [
        (str(path), None) for path in reversed(complete(folder / "checkpoints"))
    ]
    try:
        model = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["model"]
        found.append((str(model["path"]), model.get("revision")))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # older or damaged: the message names what is missing
    return found
