"""The model that warm starts begin with, written once."""

from __future__ import annotations

import pytest

from tests.warm_start.given_model import write_model


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_model(tmp_path_factory.mktemp("model"))
