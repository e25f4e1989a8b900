"""The real pretrained model, for tests marked ``long`` or ``vllm``: made once, then kept in models/."""

from __future__ import annotations

import time

from src.config import ModelConfig
from src.config.paths import ROOT, SMOLLM2
from src.config.schema import ConfigError
from src.smollm2.make import make_model

FOLDER = ROOT / SMOLLM2
QUESTIONS = (
    "What is the capital of France?",
    "What is 7 + 5?",
    "Write a Python program that prints the sum of the numbers from 1 to 100.",
)


def model_config(dtype: str = "float32") -> ModelConfig:
    """Return the settings of the model, which is made if it is not there. Raises ModelError."""
    while True:
        try:
            make_model(FOLDER)
            return ModelConfig(path=str(FOLDER), dtype=dtype)
        except ConfigError:  # another test process is making it
            time.sleep(1)
