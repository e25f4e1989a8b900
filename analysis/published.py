"""Published figures: one data file with their sources, ``analysis/published.yaml``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from analysis.data import AnalysisError
from src.config.schema import ConfigError, build, option, wrong_choice

FILE = Path(__file__).with_suffix(".yaml")
DEFAULT = f"{FILE.parent.name}/{FILE.name}"  # found from any working directory
_ROUNDED = 0.051  # two figures with one decimal that differ by less are the same, rounded


@dataclass
class PublicationConfig:
    """Where figures were published."""

    title: str = option("", "title of the paper")
    url: str = option("", "its address")
    place: str = option("", "the table or figure in it")
    sampling: str = option("", "how it samples")
    mean_of: list[str] = option([], "the benchmarks of its printed means")

    def __str__(self) -> str:
        return f"{self.title}, {self.place}, {self.url}"


@dataclass
class PublishedRowConfig:
    """A row of a published table."""

    name: str = option("", "name in our tables")
    source: str = option("", "a key of sources")
    accuracies: dict[str, float] = option({}, "benchmark -> accuracy in per cent", at_least=0, at_most=100)
    mean: float | None = option(None, "the printed mean; null: none is printed", at_least=0, at_most=100)
    notes: list[str] = option([], "printed below the table")


@dataclass
class PublishedConfig:
    """The content of a file of published figures."""

    sources: dict[str, PublicationConfig] = option({}, "the sources by name")
    rows: list[PublishedRowConfig] = option([], "the rows")

    def means(self, row: PublishedRowConfig, benchmarks: Sequence[str]) -> tuple[float | None, float | None]:
        """Return the mean of a row's accuracies over ``benchmarks``, and the printed mean.

        The former is None unless the row has all of the benchmarks; the latter, unless it is of these.
        """
        found = [row.accuracies[name] for name in benchmarks if name in row.accuracies]
        of_these = set(self.sources[row.source].mean_of) == set(benchmarks)
        mean = math.fsum(found) / len(found) if found and len(found) == len(benchmarks) else None
        return mean, row.mean if of_these else None


def differ(mean: float, printed: float) -> bool:
    """Return whether a printed mean is another than the mean of the printed figures, rounded."""
    return abs(mean - printed) > _ROUNDED


def load_published(path: str | None) -> PublishedConfig:
    """Return the published figures in a file; none for None.

    Raises:
        AnalysisError: it does not exist or is invalid; names file, field, value and remedy of all faults.
    """
    if path is None:
        return PublishedConfig()
    file = FILE if path == DEFAULT else Path(path).expanduser()
    try:
        values: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError:
        raise AnalysisError(
            f"published={path}: this file does not exist; give one like {FILE.name}, or null for none"
        ) from None
    except yaml.YAMLError as error:
        raise AnalysisError(f"published={path}: not valid YAML: {' '.join(str(error).split())}") from None
    try:
        found = build(PublishedConfig, values if isinstance(values, dict) else {"rows": values})
    except ConfigError as error:
        raise AnalysisError(*(f"published={path}: {fault}" for fault in error.faults)) from None
    names = [row.name for row in found.rows]
    faults = [
        f"{path}.{key}: this value is mandatory; give it"
        for path, one in _parts(found)
        for key, value in vars(one).items()
        if value == ""
    ]
    faults += [
        wrong_choice(f"rows[{index}].source", row.source, found.sources)
        for index, row in enumerate(found.rows)
        if row.source and row.source not in found.sources
    ]
    faults += [
        f"rows: several have the name {name}; give each its own"
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    if faults:
        raise AnalysisError(*(f"published={path}: {fault}" for fault in faults))
    return found


def _parts(found: PublishedConfig) -> Iterator[tuple[str, PublicationConfig | PublishedRowConfig]]:
    """Yield each source and each row with its place in the file."""
    yield from ((f"sources.{name}", one) for name, one in found.sources.items())
    yield from ((f"rows[{index}]", one) for index, one in enumerate(found.rows))
