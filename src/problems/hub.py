"""Rows of data sets on the hub."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from src.config import HubConfig
from src.problems.problem import ProblemError, Row

_BATCH = 1000  # rows converted at once: one by one takes ten times as long


def hub_rows(cfg: HubConfig, what: str, remedy: str) -> Iterator[Row]:
    """Yield the rows of a data set, each with its location.

    Args:
        cfg: data set, subset, split and revision.
        what: name for the error message.
        remedy: the setting that reads it from a file instead.

    Raises:
        ProblemError: it cannot be loaded.
    """
    from datasets import load_dataset

    try:
        table: Any = load_dataset(cfg.dataset, cfg.subset, split=cfg.split, revision=cfg.revision)
    except Exception as error:  # network, hub and data set code raise various exceptions
        raise ProblemError(
            f"{what}: the data set {cfg.dataset} cannot be loaded ({type(error).__name__}: {error}); without "
            f"a network, give {remedy}"
        ) from None
    number = 0
    for batch in table.with_format("arrow").iter(batch_size=_BATCH):
        for row in batch.to_pylist():
            number += 1
            yield f"{cfg.dataset}, row {number}", row
