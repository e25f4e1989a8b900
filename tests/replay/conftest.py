"""The run that most tests replay."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.config import Config
from tests.recorded_run import config, train


@pytest.fixture(scope="package")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path]:
    """Three steps of two optimizer steps each, with a checkpoint after every step; not to be changed."""
    cfg, run = config(), tmp_path_factory.mktemp("whole")
    train(cfg, run)
    return cfg, run
